"""SVS (scalable-vs): its Vamana graph over f32 vectors, and its flat search."""

from __future__ import annotations

from typing import Any

import numpy as np
import svs

from bench.ann.adapters.base import Adapter, as_f32, normalised, require_metric

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
    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        rows = self.rows(data, metric)
        graph = svs.VamanaBuildParameters(graph_max_degree=params["degree"], window_size=params["complexity"],
                                          alpha=ALPHAS[metric])
        self.index = svs.Vamana.build(graph, rows, METRICS[metric], num_threads=threads)

    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        self.index.search_window_size = max(params["window"], k)
        return self.call(queries, k)


class Flat(Svs):
    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        self.index = svs.Flat(self.rows(data, metric), METRICS[metric], num_threads=threads)

    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        return self.call(queries, k)
