"""FAISS: flat, HNSW, IVF, and IVF with 4-bit product codes in its fast-scan layout, re-ranked by full vectors."""

from __future__ import annotations

import os
from typing import Any

import faiss
import numpy as np

from bench.ann.adapters.base import Adapter, as_f32, normalised, require_metric

METRICS = {"l2": faiss.METRIC_L2, "dot": faiss.METRIC_INNER_PRODUCT, "cosine": faiss.METRIC_INNER_PRODUCT}
LISTS_MAX = 4096


def list_count(row_count: int) -> int:
    """Four times the root of the rows, as FAISS's guidelines have it, as a power of two."""
    wanted = 4 * row_count ** 0.5
    return max(16, min(LISTS_MAX, 1 << round(np.log2(wanted))))


class Faiss(Adapter):
    """Makes an index by `make`, trains and fills it."""

    def make(self, dimension: int, row_count: int, metric: int, params: dict[str, Any]) -> Any:
        raise NotImplementedError

    def version(self) -> str:
        return f"{faiss.__version__}, {faiss.get_compile_options().strip()}"

    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        require_metric(metric, *METRICS)
        faiss.omp_set_num_threads(threads)
        self.cosine = metric == "cosine"
        rows = normalised(data) if self.cosine else as_f32(data)
        self.index = self.make(data.shape[1], len(data), METRICS[metric], params)
        if not self.index.is_trained:
            self.index.train(rows)
        self.index.add(rows)

    def save(self, folder: str) -> None:
        faiss.write_index(self.index, os.path.join(folder, "index"))

    def load(self, folder: str, data: np.ndarray, metric: str, params: dict[str, Any]) -> None:
        self.cosine = metric == "cosine"
        self.index = faiss.read_index(os.path.join(folder, "index"))

    def set_params(self, params: dict[str, Any]) -> None:
        pass

    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        self.set_params(params)
        return self.index.search(normalised(queries) if self.cosine else queries, k)[1]

    def set_threads(self, threads: int) -> None:
        faiss.omp_set_num_threads(threads)


class Flat(Faiss):
    def make(self, dimension: int, row_count: int, metric: int, params: dict[str, Any]) -> Any:
        return faiss.IndexFlat(dimension, metric)

    def index_bytes(self) -> int | None:
        return self.index.ntotal * self.index.d * 4

    def note(self) -> str:
        return "all queries as one batch"


class Hnsw(Faiss):
    def make(self, dimension: int, row_count: int, metric: int, params: dict[str, Any]) -> Any:
        index = faiss.IndexHNSWFlat(dimension, params["m"], metric)
        index.hnsw.efConstruction = params["ef_construction"]
        return index

    def set_params(self, params: dict[str, Any]) -> None:
        self.index.hnsw.efSearch = params["ef"]


class Ivf(Faiss):
    def make(self, dimension: int, row_count: int, metric: int, params: dict[str, Any]) -> Any:
        return faiss.index_factory(dimension, f"IVF{list_count(row_count)},Flat", metric)

    def set_params(self, params: dict[str, Any]) -> None:
        self.index.nprobe = params["nprobe"]


class IvfPqFastScan(Faiss):
    def make(self, dimension: int, row_count: int, metric: int, params: dict[str, Any]) -> Any:
        codes = dimension // 2 if dimension % 2 == 0 else dimension
        return faiss.index_factory(dimension, f"IVF{list_count(row_count)},PQ{codes}x4fs,RFlat", metric)

    def set_params(self, params: dict[str, Any]) -> None:
        space = faiss.ParameterSpace()
        space.set_index_parameter(self.index, "nprobe", params["nprobe"])
        space.set_index_parameter(self.index, "k_factor_rf", params["refine"])

    def note(self) -> str:
        return "two dimensions a code, re-ranked by full vectors"
