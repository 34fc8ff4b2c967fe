"""ScaNN: its tree with anisotropic codes, re-ranked by full vectors, and its brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import scann

from bench.ann.adapters.base import Adapter, as_f32, normalised, require_metric

METRICS = {"l2": "squared_l2", "dot": "dot_product", "cosine": "dot_product"}
TRAINING_ROWS_MAX = 250_000


class Scann(Adapter):
    def version(self) -> str:
        from importlib.metadata import version

        return version("scann")

    def builder(self, data: np.ndarray, metric: str, threads: int) -> Any:
        require_metric(metric, *METRICS)
        self.cosine = metric == "cosine"
        rows = normalised(data) if self.cosine else as_f32(data)
        return scann.scann_ops_pybind.builder(rows, 10, METRICS[metric]).set_n_training_threads(threads)

    def call(self, queries: np.ndarray, **params: int) -> np.ndarray:
        queries = normalised(queries) if self.cosine else queries
        run = self.searcher.search_batched if self.threads == 1 else self.searcher.search_batched_parallel
        return np.asarray(run(queries, **params)[0]).astype(np.int64)

    def set_threads(self, threads: int) -> None:
        self.threads = threads
        self.searcher.set_num_threads(threads)


class Tree(Scann):
    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        leaves = max(16, int(2 * len(data) ** 0.5))
        builder = self.builder(data, metric, threads)
        builder = builder.tree(leaves, 10, training_sample_size=min(len(data), TRAINING_ROWS_MAX))
        self.searcher = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(100).build()

    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        return self.call(queries, leaves_to_search=params["leaves"],
                         pre_reorder_num_neighbors=k * params["reorder"], final_num_neighbors=k)


class Brute(Scann):
    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        self.searcher = self.builder(data, metric, threads).score_brute_force().build()

    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        return self.call(queries, final_num_neighbors=k)

    def note(self) -> str:
        return "all queries as one batch"
