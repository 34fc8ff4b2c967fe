"""Exact search by numpy alone: the yardstick anyone has, and what the harness's own tests run on."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.ann.adapters.base import Adapter, as_f32, normalised

BLOCK_QUERIES = 128


class Brute(Adapter):
    def version(self) -> str:
        return f"numpy {np.__version__}"

    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        self.metric = metric
        self.rows = normalised(data) if metric == "cosine" else np.array(data, dtype=np.float32)
        self.squares = np.einsum("ij,ij->i", self.rows, self.rows) if metric == "l2" else None

    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        k = min(k, len(self.rows))
        out = np.empty((len(queries), k), dtype=np.int64)
        for begin in range(0, len(queries), BLOCK_QUERIES):
            block = as_f32(queries[begin:begin + BLOCK_QUERIES])
            scores = block @ self.rows.T
            if self.squares is not None:
                scores *= -2
                scores += self.squares
            else:
                scores *= -1
            nearest = np.argpartition(scores, k - 1, axis=1)[:, :k]
            order = np.argsort(np.take_along_axis(scores, nearest, axis=1), axis=1, kind="stable")
            out[begin:begin + BLOCK_QUERIES] = np.take_along_axis(nearest, order, axis=1)
        return out

    def index_bytes(self) -> int | None:
        return self.rows.nbytes + (0 if self.squares is None else self.squares.nbytes)

    def note(self) -> str:
        return "matrix product, then argpartition"
