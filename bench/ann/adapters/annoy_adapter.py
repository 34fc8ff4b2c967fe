"""annoy: random projection trees."""

from __future__ import annotations

from typing import Any

import annoy
import numpy as np

from bench.ann.adapters.base import Adapter, Unsupported, padded, require_metric

METRICS = {"l2": "euclidean", "cosine": "angular", "dot": "dot"}


class Trees(Adapter):
    def version(self) -> str:
        from importlib.metadata import version

        return version("annoy")

    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        require_metric(metric, *METRICS)
        self.index = annoy.AnnoyIndex(data.shape[1], METRICS[metric])
        self.index.set_seed(1)
        for row, vector in enumerate(data):
            self.index.add_item(row, vector)
        self.index.build(params["trees"], n_jobs=threads)

    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        search_k = params["search_k"]
        return padded([self.index.get_nns_by_vector(query, k, search_k) for query in queries], k)

    def set_threads(self, threads: int) -> None:
        if threads != 1:
            raise Unsupported("it searches with one thread")

    def note(self) -> str:
        return "one query at a time from Python"
