"""Ground truth of generated sets, exactly, and recall against ground truth.

Exactly means: the order of float64 distances, equal ones by the lower row. A float32 matrix product finds candidates;
its error is bounded, and every row whose float32 distance could, within twice the bound, belong to the k nearest is
computed again in float64. With n terms and unit roundoff u = 2^-24, a float32 dot product is off by at most
g |a||b|, g = n u / (1 - n u), whatever the order of summation (Higham, Accuracy and Stability of Numerical
Algorithms, 3.1); the squared distance |a|^2 - 2ab + |b|^2 hence by at most (g + 4u)(|a| + |b|)^2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bench.ann.datasets import Dataset

UNIT_ROUNDOFF = 2.0 ** -24
BLOCK_ROWS = 16384
BLOCK_QUERIES = 1024


def distances_f64(rows: np.ndarray, query: np.ndarray, metric: str) -> np.ndarray:
    """Float64 distances (smaller is better) of rows to one query."""
    a = np.asarray(rows, dtype=np.float64)
    b = np.asarray(query, dtype=np.float64)
    if metric == "l2":
        difference = a - b
        return np.einsum("ij,ij->i", difference, difference)
    products = np.einsum("ij,j->i", a, b)
    if metric == "dot":
        return -products
    if metric != "cosine":
        raise ValueError(f'metric "{metric}" is none of l2, cosine, dot')
    scale = np.sqrt(np.einsum("ij,ij->i", a, a) * float(b @ b))
    return np.where(scale == 0, 1.0, 1 - products / np.where(scale == 0, 1, scale))


def nearest(base: np.ndarray, queries: np.ndarray, metric: str, k: int) -> np.ndarray:
    """Rows of the k nearest of each query, as int64 (queries, k)."""
    if k > len(base):
        raise ValueError(f"k: {k} is over the {len(base)} rows")
    out = np.empty((len(queries), k), dtype=np.int64)
    for begin in range(0, len(queries), BLOCK_QUERIES):
        block = queries[begin:begin + BLOCK_QUERIES]
        for i, rows in enumerate(_candidates(base, block, metric, k)):
            rows = np.sort(rows)
            distances = distances_f64(base[rows], block[i], metric)
            out[begin + i] = rows[np.argsort(distances, kind="stable")[:k]]
    return out


def _candidates(base: np.ndarray, queries: np.ndarray, metric: str, k: int) -> list[np.ndarray]:
    """For each query rows that surely hold its k nearest.

    Scores are squared distances less |query|^2 (which orders the rows of a query alike), or negated products. Each is
    within `slack` of the truth; slack is that of the longest row of a block, which is never too small."""
    q = _prepared(queries, metric)
    q_norms = np.sqrt(np.einsum("ij,ij->i", q, q, dtype=np.float64))
    dimension = base.shape[1]
    gamma = dimension * UNIT_ROUNDOFF / (1 - dimension * UNIT_ROUNDOFF)
    factor = gamma + 12 * UNIT_ROUNDOFF  # 8 more: the sums in float32 below round too, and so does normalising
    kept = [(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0))] * len(q)  # rows, least and greatest scores
    bound = np.full(len(q), np.inf)  # no k-th nearest is farther than this
    for begin in range(0, len(base), BLOCK_ROWS):
        rows = _prepared(base[begin:begin + BLOCK_ROWS], metric)
        squares = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
        scores = q @ rows.T
        if metric == "l2":
            scores *= -2
            scores += squares.astype(np.float32)
        else:
            scores *= -1
        slack = factor * (q_norms + np.sqrt(squares.max())) ** 2
        limits = np.nextafter((bound + slack).astype(np.float32), np.float32(np.inf))
        for i in range(len(q)):
            fresh = np.flatnonzero(scores[i] <= limits[i])
            if len(fresh) == 0:
                continue
            found = scores[i, fresh].astype(np.float64)
            ids = np.concatenate([kept[i][0], fresh + begin])
            low = np.concatenate([kept[i][1], found - slack[i]])
            high = np.concatenate([kept[i][2], found + slack[i]])
            if len(high) >= k:
                bound[i] = min(bound[i], np.partition(high, k - 1)[k - 1])
            keep = low <= bound[i]
            kept[i] = ids[keep], low[keep], high[keep]
    return [ids for ids, _, _ in kept]


def _prepared(rows: np.ndarray, metric: str) -> np.ndarray:
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    if metric != "cosine":
        return rows
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return (rows / np.where(lengths == 0, 1, lengths)).astype(np.float32)


def recall(dataset: Dataset, ids: np.ndarray, k: int) -> tuple[float, bool]:
    """Share of the k that are as near as the true k-th (so that ties cost nobody), and whether the ids are those of
    the ground truth in its order. An id given twice or out of range counts as missing."""
    base = dataset.base()
    queries = dataset.queries()
    truth = dataset.gt_ids()
    good = 0
    identical = True
    for i, row in enumerate(ids):
        true = truth[i, :k]
        identical = identical and len(row) >= len(true) and bool(np.array_equal(row[:k], true))
        if np.array_equal(row[:k], true):
            good += len(true)
            continue
        found = np.unique(row[:k])
        found = found[(found >= 0) & (found < len(base))]
        known = np.isin(found, true)
        good += int(np.count_nonzero(known))
        found = found[~known]
        if len(found) == 0:
            continue
        limit = distances_f64(base[true[-1:]], queries[i], dataset.metric)[0]
        limit += 1e-9 * max(abs(limit), 1e-30)
        good += int(np.count_nonzero(distances_f64(base[found], queries[i], dataset.metric) <= limit))
    return good / max(1, len(ids) * k), identical
