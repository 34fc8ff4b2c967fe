"""pynndescent: its graph by nearest neighbour descent, compiled by numba while it runs."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pynndescent

from bench.ann.adapters.base import Adapter, as_f32, require_metric

METRICS = {"l2": "euclidean", "cosine": "cosine", "dot": "dot"}


class Descent(Adapter):
    def version(self) -> str:
        return f"{pynndescent.__version__}, numba {numba.__version__}"

    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        require_metric(metric, *METRICS)
        self.index = pynndescent.NNDescent(as_f32(data), metric=METRICS[metric], n_neighbors=params["neighbors"],
                                           n_jobs=threads, random_state=1)
        self.index.prepare()

    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        return self.index.query(queries, k=k, epsilon=params["epsilon"])[0].astype(np.int64)

    def set_threads(self, threads: int) -> None:
        self.index.n_jobs = threads
        numba.set_num_threads(threads)

    def note(self) -> str:
        return "building includes its compiler"
