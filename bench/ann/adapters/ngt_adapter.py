"""NGT: its approximate neighbourhood graph with tree (ANNG)."""

from __future__ import annotations

import os
from typing import Any

import ngtpy
import numpy as np

from bench.ann.adapters.base import Adapter, Unsupported, as_f32, padded, require_metric, scratch_folder

METRICS = {"l2": "L2", "cosine": "Cosine"}
EDGES = 40


class Anng(Adapter):
    def version(self) -> str:
        from importlib.metadata import version

        return version("ngt")

    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        require_metric(metric, *METRICS)
        path = os.path.join(scratch_folder(), "ngt")
        ngtpy.create(path, data.shape[1], edge_size_for_creation=EDGES, distance_type=METRICS[metric],
                     object_type="Float")
        self.index = ngtpy.Index(path)
        self.index.batch_insert(as_f32(data), threads)

    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        epsilon = params["epsilon"]
        return padded([self.index.search(query, k, epsilon, with_distance=False) for query in queries], k)

    def set_threads(self, threads: int) -> None:
        if threads != 1:
            raise Unsupported("its Python interface searches with one thread")

    def note(self) -> str:
        return f"one query at a time from Python, {EDGES} edges"
