"""How near a single query comes to what the memory gives: bytes of rows per second against a plain read loop.

Runs in a process of its own, as workers do: `python -m bench.ann.scan JOB` prints one JSON object. Reading and
searching alternate, so that both see the same machine.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from typing import Any

import numpy as np

from bench.ann.adapters.vecdb import aligned_copy, load, read_seconds, search
from bench.ann.worker import set_affinity


def measure(base: str, queries: str, metric: str, element: str, cores: list[int], rounds: int, k: int = 10,
            rows_max: int = 0) -> dict[str, Any]:
    """Gigabytes per second of reading and of searching, one query at a time with the rows shared out over cores."""
    import time

    set_affinity(cores)
    library = load()
    source = np.load(base, mmap_mode="r")
    rows = aligned_copy(source[:rows_max or len(source)], {"f32": np.float32, "u8": np.uint8}[element])
    vectors = np.ascontiguousarray(np.load(queries, mmap_mode="r")[:max(2, rounds)], dtype=rows.dtype)
    read: list[float] = []
    scan: list[float] = []
    search(library, "vecdb_bench_split", rows, vectors[:1], k, metric, len(cores))
    for number in range(rounds):
        read += read_seconds(library, rows, len(cores), 1)
        query = vectors[number % len(vectors)][None, :]
        begin = time.perf_counter()
        search(library, "vecdb_bench_split", rows, query, k, metric, len(cores))
        scan.append(time.perf_counter() - begin)
    read_rates = [rows.nbytes / s / 1e9 for s in read]
    scan_rates = [rows.nbytes / s / 1e9 for s in scan]
    return {"bytes": rows.nbytes, "rows": len(rows), "dimension": rows.shape[1], "element": element,
            "threads": len(cores), "rounds": rounds,
            "read_gb_s": spread(read_rates), "scan_gb_s": spread(scan_rates),
            "query_ms": spread([s * 1e3 for s in scan]),
            "share": statistics.median(scan_rates) / statistics.median(read_rates)}


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
