"""What the tests of the benchmark harness share: a tiny set, an oracle, a peer that breaks, results to report."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench.ann import machine, truth  # noqa: E402

SPEC = "clustered-3k-24"
# hnswlib, or what is left of it.
FAKE = """
import os, signal, time
import numpy as np

class Index:
    def __init__(self, space, dimension): pass
    def init_index(self, *args): pass
    def set_num_threads(self, threads): pass
    def set_ef(self, ef): pass
    def index_file_size(self): return 0
    def add_items(self, data, num_threads):
        if "FAULT" == "crash":
            print("something broke")
            os.kill(os.getpid(), signal.SIGSEGV)
        if "FAULT" == "hang":
            time.sleep(60)
    def knn_query(self, queries, k, num_threads):
        if "FAULT" == "shape":
            return np.zeros((len(queries), k, 2)), None
        if "FAULT" == "raise":
            raise MemoryError("no room")
        return np.zeros((len(queries), k)), None
"""


def naive(base: np.ndarray, queries: np.ndarray, metric: str, k: int) -> np.ndarray:
    """The oracle: float64, one distance after the other, ties to the lower row."""
    out = []
    for query in queries:
        distances = [truth.distances_f64(base[row:row + 1], query, metric)[0] for row in range(len(base))]
        out.append(sorted(range(len(base)), key=lambda row: (distances[row], row))[:k])
    return np.array(out)


def result(points: list[tuple[int, float, float]]) -> dict:
    return {"build_seconds": 2.5, "memory_bytes": 4000, "peak_rss_bytes": 10 ** 9, "index_bytes": None,
            "version": "1.2", "note": "", "exact": True,
            "points": [{"params": {"ef": i}, "k": k, "queries": 10, "recall": recall, "identical_ids": recall == 1,
                        "rounds": 3, "qps_median": qps, "qps_min": qps * 0.9, "qps_max": qps * 1.1, "spread": 0.1,
                        "seconds": []}
                       for i, (k, recall, qps) in enumerate(points)]}


def results(kind: str, found: dict) -> dict:
    section = {"kind": kind, "key": f"{kind}-set-t1", "threads": 1, "build_threads": 2, "groups": [["a"]],
               "failed": {"ngt-anng": "no metric dot"}, "results": found,
               "dataset": {"name": "set", "rows": 100, "dimension": 8, "metric": "l2", "source": "here"}}
    cpu = machine.parse_cpuinfo("processor\t: 0\nmodel name\t: A B\nflags\t\t: fpu avx2 avx512f\n")
    assert cpu == {"model": "A B", "processors": 1, "flags": ["avx2", "avx512f"]}
    return {"command": "make bench", "machine": dict(machine.describe(ROOT), cpu=cpu), "seconds": 60.0,
            "not_installed": {"scann": "no wheel"}, "sections": [section], "scans": []}
