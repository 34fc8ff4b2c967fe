"""How near a single query comes to what the memory gives: bytes of rows per second against loops that only read.

Runs in a process of its own, as workers do: `python -m bench.ann.scan JOB` prints one JSON object. Reading and
searching alternate over the same memory, so that both see the same machine. The reference is the loop with the best
median of several (vecdb_bench.h: enum vecdb_bench_loop); which one that is differs by machine.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from typing import Any

import numpy as np

from bench.ann.adapters.vecdb import aligned_copy, load, read_seconds, search
from bench.ann.worker import set_affinity

ROUND_SECONDS = 0.05  # of searching in a round, at least: starting threads and calling from Python weigh nothing then
QUERIES_MAX = 256


def measure(base: str, queries: str, metric: str, element: str, cores: list[int], rounds: int, k: int = 10,
            rows_max: int = 0) -> dict[str, Any]:
    """Gigabytes per second of reading and of searching, one query at a time with the rows shared out over cores."""
    set_affinity(cores)
    library = load()
    source = np.load(base, mmap_mode="r")
    rows = aligned_copy(source[:rows_max or len(source)], {"f32": np.float32, "u8": np.uint8}[element])
    vectors = np.ascontiguousarray(np.load(queries, mmap_mode="r")[:QUERIES_MAX], dtype=rows.dtype)

    def scan_seconds(first: int, count: int) -> float:
        some = np.ascontiguousarray(np.take(vectors, range(first, first + count), axis=0, mode="wrap"))
        begin = time.perf_counter()
        search(library, "vecdb_bench_split", rows, some, k, metric, len(cores))
        return (time.perf_counter() - begin) / count

    scan_seconds(0, 1)
    count = min(QUERIES_MAX, max(1, round(ROUND_SECONDS / scan_seconds(0, 1))))
    read: dict[str, list[float]] = {}
    scan: list[float] = []
    for number in range(rounds):
        for loop, seconds in read_seconds(library, rows, len(cores), count).items():
            read.setdefault(loop, []).append(statistics.fmean(seconds))
        scan.append(scan_seconds(number * count, count))
    loop = min(read, key=lambda name: statistics.median(read[name]))
    read_rates = {name: [rows.nbytes / s / 1e9 for s in seconds] for name, seconds in read.items()}
    scan_rates = [rows.nbytes / s / 1e9 for s in scan]
    return {"bytes": rows.nbytes, "rows": len(rows), "dimension": rows.shape[1], "element": element, "metric": metric,
            "threads": len(cores), "rounds": rounds, "queries_a_round": count, "loop": loop,
            "loops_gb_s": {name: statistics.median(rates) for name, rates in read_rates.items()},
            "read_gb_s": spread(read_rates[loop]), "scan_gb_s": spread(scan_rates),
            "query_ms": spread([s * 1e3 for s in scan]),
            "share": statistics.median(scan_rates) / statistics.median(read_rates[loop])}


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def main() -> int:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    json.dump(measure(**json.loads(sys.argv[1])), answers)
    answers.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
