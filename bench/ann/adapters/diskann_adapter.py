"""DiskANN's Python package: the in-memory Vamana graph."""

from __future__ import annotations

import os
from typing import Any

import diskannpy
import numpy as np

from bench.ann.adapters.base import Adapter, as_f32, require_metric, scratch_folder

METRICS = {"l2": "l2", "cosine": "cosine", "dot": "mips"}


class Memory(Adapter):
    def version(self) -> str:
        from importlib.metadata import version

        return version("diskannpy")

    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        require_metric(metric, *METRICS)
        folder = os.path.join(scratch_folder(), "diskann")
        os.makedirs(folder, exist_ok=True)
        diskannpy.build_memory_index(as_f32(data), METRICS[metric], folder, complexity=params["complexity"],
                                     graph_degree=params["degree"], num_threads=threads, alpha=1.2,
                                     index_prefix="ann")
        self.index = diskannpy.StaticMemoryIndex(folder, num_threads=threads, initial_search_complexity=512,
                                                 index_prefix="ann")

    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        found = self.index.batch_search(queries, k, max(params["complexity"], k), self.threads)
        return found.identifiers.astype(np.int64)

    def set_threads(self, threads: int) -> None:
        self.threads = threads
