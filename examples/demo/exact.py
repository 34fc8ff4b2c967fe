"""The truth to measure answers against: brute force over all embeddings in double precision, by numpy alone.

It shares nothing with the server: not the distances, not the top-k, not the filters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TIE = 1e-6  # two distances nearer than this are one: the server computes in single precision


@dataclass(frozen=True)
class Truth:
    distances: np.ndarray  # cosine distance of every document, infinite where it is not allowed
    farthest: float  # that of the k-th nearest
    k: int  # how many answers there can be

    def recall(self, rows: Sequence[int]) -> float:
        """The share of the k nearest that `rows` names; of several equally far documents any will do."""
        if self.k == 0:
            return 1.0 if not rows else 0.0
        right = sum(1 for row in set(rows) if self.distances[row] <= self.farthest + TIE)
        return min(right, self.k) / self.k


class BruteForce:
    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors.astype(np.float64)
        self.lengths = np.linalg.norm(self.vectors, axis=1)

    def nearest(self, query: np.ndarray, k: int, allowed: np.ndarray) -> Truth:
        wanted = query.astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            distances = 1.0 - self.vectors @ wanted / (self.lengths * np.linalg.norm(wanted))
        distances = np.where(allowed & (self.lengths > 0), distances, np.inf)
        k = min(k, int(np.isfinite(distances).sum()))
        farthest = float(np.partition(distances, k - 1)[k - 1]) if k else 0.0
        return Truth(distances, farthest, k)
