"""SVS (scalable-vs): its Vamana graph over f32 vectors and over LVQ codes, and its flat search."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import svs

from bench.ann.adapters.base import Adapter, Unsupported, as_f32, normalised, require_metric, scratch_folder

METRICS = {"l2": svs.DistanceType.L2, "dot": svs.DistanceType.MIP, "cosine": svs.DistanceType.MIP}
ALPHAS = {"l2": 1.2, "dot": 0.95, "cosine": 0.95}  # the sign of the comparison turns with the metric


class Svs(Adapter):
    def version(self) -> str:
        from importlib.metadata import version

        return version("scalable-vs")

    def rows(self, data: np.ndarray, metric: str) -> np.ndarray:
        require_metric(metric, *METRICS)
        self.cosine = metric == "cosine"
        return normalised(data) if self.cosine else as_f32(data)

    def call(self, queries: np.ndarray, k: int) -> np.ndarray:
        return self.index.search(normalised(queries) if self.cosine else queries, k)[0].astype(np.int64)

    def set_threads(self, threads: int) -> None:
        self.index.num_threads = threads


class Vamana(Svs):
    def source(self, rows: np.ndarray) -> Any:
        """What the graph is built over."""
        return rows

    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        rows = self.source(self.rows(data, metric))
        graph = svs.VamanaBuildParameters(graph_max_degree=params["degree"], window_size=params["complexity"],
                                          alpha=ALPHAS[metric])
        self.index = svs.Vamana.build(graph, rows, METRICS[metric], num_threads=threads)

    def save(self, folder: str) -> None:
        self.index.save(*(os.path.join(folder, part) for part in ("config", "graph", "rows")))

    def load(self, folder: str, data: np.ndarray, metric: str, params: dict[str, Any]) -> None:
        self.cosine = metric == "cosine"
        config, graph, rows = (os.path.join(folder, part) for part in ("config", "graph", "rows"))
        self.index = svs.Vamana(config, svs.GraphLoader(graph), svs.VectorDataLoader(rows, svs.DataType.float32),
                                METRICS[metric], num_threads=1)

    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        self.index.search_window_size = max(params["window"], k)
        return self.call(queries, k)


class Lvq(Vamana):
    """Codes of 4 bits in its fastest layout, and 8 more to rank by. The package runs it on Intel's processors only."""

    def source(self, rows: np.ndarray) -> Any:
        path = os.path.join(scratch_folder(), "rows.fvecs")
        svs.write_vecs(rows, path)
        return svs.LVQLoader(svs.VectorDataLoader(path, svs.DataType.float32), primary=4, residual=8,
                             strategy=svs.LVQStrategy.Turbo)

    def save(self, folder: str) -> None:
        raise Unsupported("its codes are made anew each time")

    def note(self) -> str:
        return "LVQ4x8, turbo"


class Flat(Svs):
    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        self.index = svs.Flat(self.rows(data, metric), METRICS[metric], num_threads=threads)

    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        return self.call(queries, k)
