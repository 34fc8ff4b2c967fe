"""hnswlib: its graph and its brute force."""

from __future__ import annotations

import os
from typing import Any

import hnswlib
import numpy as np

from bench.ann.adapters.base import Adapter, as_f32, require_metric

SPACES = {"l2": "l2", "cosine": "cosine", "dot": "ip"}


def version() -> str:
    from importlib.metadata import version as of

    native = "hnswlib-native" in os.path.abspath(hnswlib.__file__)
    return f"{of('hnswlib')}, {'compiled here with -march=native' if native else 'compiled for the baseline'}"


class Hnsw(Adapter):
    def version(self) -> str:
        return version()

    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        require_metric(metric, *SPACES)
        self.index = hnswlib.Index(SPACES[metric], data.shape[1])
        self.index.init_index(len(data), params["m"], params["ef_construction"], 1)
        self.index.set_num_threads(threads)
        self.index.add_items(as_f32(data), num_threads=threads)

    def save(self, folder: str) -> None:
        self.index.save_index(os.path.join(folder, "index"))

    def load(self, folder: str, data: np.ndarray, metric: str, params: dict[str, Any]) -> None:
        self.index = hnswlib.Index(SPACES[metric], data.shape[1])
        self.index.load_index(os.path.join(folder, "index"), max_elements=len(data))

    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        self.index.set_ef(max(params["ef"], k))
        return self.index.knn_query(queries, k, num_threads=self.threads)[0].astype(np.int64)

    def set_threads(self, threads: int) -> None:
        self.threads = threads
        self.index.set_num_threads(threads)

    def index_bytes(self) -> int | None:
        return self.index.index_file_size()


class BruteForce(Adapter):
    def version(self) -> str:
        return version()

    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        require_metric(metric, *SPACES)
        self.index = hnswlib.BFIndex(SPACES[metric], data.shape[1])
        self.index.init_index(len(data))
        self.index.add_items(as_f32(data))

    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        return self.index.knn_query(queries, k, num_threads=self.threads)[0].astype(np.int64)

    def set_threads(self, threads: int) -> None:
        self.threads = threads

    def note(self) -> str:
        return "one query at a time"
