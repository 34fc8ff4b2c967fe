"""The interface that every participant fills, and what most of them share."""

from __future__ import annotations

import abc
import os
from typing import Any

import numpy as np

METRICS = ("l2", "cosine", "dot")


class Unsupported(Exception):
    """This adapter cannot do what was asked (a metric, a type); the report names it with this text."""


class Adapter(abc.ABC):
    """One index over one data set. Lives in a process of its own; build is called once, before any search."""

    @abc.abstractmethod
    def version(self) -> str:
        """Version of the library, and what is known of how it was compiled."""

    @abc.abstractmethod
    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        """Builds from data (rows; mapped from a file: keep no reference, copy what the index needs)."""

    @abc.abstractmethod
    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        """Row numbers of the k nearest of each query, best first, as (queries, k); -1 where there are fewer."""

    def set_threads(self, threads: int) -> None:
        """Threads of the searches that follow."""

    def save(self, folder: str) -> None:
        """Writes the built index into an empty folder, so that a later run need not build it (storage.py)."""
        raise Unsupported("this adapter does not save")

    def load(self, folder: str, data: np.ndarray, metric: str, params: dict[str, Any]) -> None:
        """Takes the place of build: what save wrote of the same data. data is mapped, as in build."""
        raise Unsupported("this adapter does not load")

    def index_bytes(self) -> int | None:
        """Bytes of the whole index, its vectors included, as the library counts them; None if it does not."""
        return None

    def note(self) -> str:
        """How it works here in a few words, for the report."""
        return ""


def as_f32(data: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(data, dtype=np.float32)


def normalised(data: np.ndarray) -> np.ndarray:
    """A copy with every row of length 1 (zero rows stay)."""
    copy = np.array(data, dtype=np.float32)
    for begin in range(0, len(copy), 65536):
        rows = copy[begin:begin + 65536]
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows /= np.where(lengths == 0, 1, lengths)
    return copy


def require_metric(metric: str, *allowed: str) -> None:
    if metric not in allowed:
        raise Unsupported(f"metric {metric}: this adapter has {', '.join(allowed)}")


def padded(rows: list[Any], k: int) -> np.ndarray:
    """Lists of different lengths as one (n, k) array, -1 where they are short."""
    out = np.full((len(rows), k), -1, dtype=np.int64)
    for i, row in enumerate(rows):
        out[i, :len(row[:k])] = row[:k]
    return out


def scratch_folder() -> str:
    """A folder of this process for libraries that insist on files."""
    folder = os.environ.get("BENCH_SCRATCH", "")
    if not folder:
        raise Unsupported("BENCH_SCRATCH is not set")
    os.makedirs(folder, exist_ok=True)
    return folder
