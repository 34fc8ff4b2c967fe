"""nmslib: its HNSW graph, in the flat layout it makes for searching."""

from __future__ import annotations

from typing import Any

import nmslib
import numpy as np

from bench.ann.adapters.base import Adapter, as_f32, padded, require_metric

SPACES = {"l2": "l2", "cosine": "cosinesimil", "dot": "negdotprod"}


class Hnsw(Adapter):
    def version(self) -> str:
        return f"{nmslib.__version__}, a wheel for the baseline processor"

    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        require_metric(metric, *SPACES)
        self.index = nmslib.init(method="hnsw", space=SPACES[metric])
        self.index.addDataPointBatch(as_f32(data))
        self.index.createIndex({"M": params["m"], "efConstruction": params["ef_construction"],
                                "indexThreadQty": threads, "post": 0})

    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        self.index.setQueryTimeParams({"efSearch": max(params["ef"], k)})
        found = self.index.knnQueryBatch(queries, k=k, num_threads=self.threads)
        return padded([ids for ids, _ in found], k)

    def set_threads(self, threads: int) -> None:
        self.threads = threads
