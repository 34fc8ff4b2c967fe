"""voyager: an HNSW graph with f32 vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import voyager

from bench.ann.adapters.base import Adapter, as_f32, require_metric

SPACES = {"l2": voyager.Space.Euclidean, "cosine": voyager.Space.Cosine, "dot": voyager.Space.InnerProduct}


class Hnsw(Adapter):
    def version(self) -> str:
        from importlib.metadata import version

        return version("voyager")

    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        require_metric(metric, *SPACES)
        self.index = voyager.Index(SPACES[metric], data.shape[1], M=params["m"],
                                   ef_construction=params["ef_construction"], max_elements=len(data))
        self.index.add_items(as_f32(data), num_threads=threads)

    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        ef = max(params["ef"], k)
        return self.index.query(queries, k, num_threads=self.threads, query_ef=ef)[0].astype(np.int64)

    def set_threads(self, threads: int) -> None:
        self.threads = threads
