"""usearch: its graph and its exact search."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import usearch
from usearch.index import Index, search

from bench.ann.adapters.base import Adapter, as_f32, require_metric

METRICS = {"l2": "l2sq", "cosine": "cos", "dot": "ip"}


class Hnsw(Adapter):
    def version(self) -> str:
        return f"{usearch.__version__}, {self.index.hardware_acceleration}"

    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        require_metric(metric, *METRICS)
        self.index = Index(ndim=data.shape[1], metric=METRICS[metric], dtype="f32", connectivity=params["m"],
                           expansion_add=params["ef_construction"], expansion_search=64)
        self.index.add(np.arange(len(data), dtype=np.uint64), as_f32(data), threads=threads)

    def save(self, folder: str) -> None:
        self.index.save(os.path.join(folder, "index"))

    def load(self, folder: str, data: np.ndarray, metric: str, params: dict[str, Any]) -> None:
        self.index = Index(ndim=data.shape[1], metric=METRICS[metric], dtype="f32", connectivity=params["m"])
        self.index.load(os.path.join(folder, "index"))

    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        self.index.expansion_search = max(params["ef"], k)
        found = self.index.search(queries, k, threads=self.threads)
        return np.asarray(found.keys).astype(np.int64).reshape(len(queries), k)

    def set_threads(self, threads: int) -> None:
        self.threads = threads

    def index_bytes(self) -> int | None:
        return int(self.index.memory_usage)


class Exact(Adapter):
    def version(self) -> str:
        return usearch.__version__

    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        require_metric(metric, *METRICS)
        self.metric = METRICS[metric]
        self.rows = np.array(data, dtype=np.float32)

    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        found = search(self.rows, queries, k, self.metric, exact=True, threads=self.threads)
        return np.asarray(found.keys).astype(np.int64).reshape(len(queries), k)

    def set_threads(self, threads: int) -> None:
        self.threads = threads

    def index_bytes(self) -> int | None:
        return self.rows.nbytes
