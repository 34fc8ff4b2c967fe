"""RaBitQ-Library: SymphonyQG's graph with one-bit codes of each row's links, and IVF over codes of 7 bits."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import rabitqlib

from bench.ann.adapters.base import Adapter, as_f32, normalised, require_metric

METRICS = {"l2": "l2", "dot": "ip", "cosine": "ip"}
NO_ROW = 0xFFFFFFFF
CODE_BITS = 7
LISTS_MAX = 4096


class Rabitq(Adapter):
    def version(self) -> str:
        from importlib.metadata import version

        return version("rabitqlib")

    def rows(self, data: np.ndarray, metric: str) -> np.ndarray:
        require_metric(metric, *METRICS)
        self.cosine = metric == "cosine"
        return normalised(data) if self.cosine else as_f32(data)

    def vectors(self, queries: np.ndarray) -> np.ndarray:
        return normalised(queries) if self.cosine else queries

    def set_threads(self, threads: int) -> None:
        self.threads = threads


def as_rows(ids: np.ndarray) -> np.ndarray:
    out = ids.astype(np.int64)
    out[ids == NO_ROW] = -1
    return out


class Symqg(Rabitq):
    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        rows = self.rows(data, metric)
        self.index = rabitqlib.SymqgIndex(rows.shape[1], params["degree"], METRICS[metric])
        self.index.build(rows, params["ef_construction"], threads)

    def save(self, folder: str) -> None:
        self.index.save(os.path.join(folder, "index"))

    def load(self, folder: str, data: np.ndarray, metric: str, params: dict[str, Any]) -> None:
        self.cosine = metric == "cosine"
        self.index = rabitqlib.SymqgIndex.load(os.path.join(folder, "index"))

    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        return as_rows(self.index.search_batch(self.vectors(queries), k, max(params["ef"], k), self.threads)[0])


class Ivf(Rabitq):
    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        rows = self.rows(data, metric)
        lists = max(16, min(LISTS_MAX, 1 << round(np.log2(4 * len(rows) ** 0.5))))
        means = rabitqlib.RaBitQKMeans(rows.shape[1], lists, num_threads=threads,
                                       final_assignment=rabitqlib.FinalAssignmentMode.Exact)
        means.train(rows)
        self.index = rabitqlib.IvfIndex(dim=rows.shape[1], max_elements=len(rows), num_clusters=lists,
                                        nbits=CODE_BITS, metric=METRICS[metric])
        self.index.build(rows, means.centroids, means.assignments, threads)

    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        return as_rows(self.index.search(self.vectors(queries), k, params["nprobe"], num_threads=self.threads)[0])

    def note(self) -> str:
        return f"{CODE_BITS} bits a dimension, no full vectors"
