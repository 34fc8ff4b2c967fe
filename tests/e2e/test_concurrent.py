"""P3: a search sees one consistent snapshot while writes go on: no half batch, no deleted point, no id twice.

A writer keeps pairs of points: ids 2n and 2n+1, always written, replaced and deleted together in one batch, both
with the batch's version in their metadata. Readers search for everything at once and hold each answer against
what the writer had been told before the search began and had begun when it ended.
"""

from __future__ import annotations

import os
import random
import threading
import time
from dataclasses import dataclass, field

import numpy as np

PAIRS = 150
READERS = 3
SECONDS = float(os.environ.get("VECDB_CONCURRENT_SECONDS") or 4)
NAME = "pairs"


@dataclass
class Truth:
    """Versions per pair, 0 for "not there": what is acknowledged, and every version begun so far."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    history: list[list[int]] = field(default_factory=lambda: [[0] for _ in range(PAIRS)])
    acknowledged: list[int] = field(default_factory=lambda: [0] * PAIRS)  # index into history

    def begin(self, changes: dict[int, int]) -> None:
        with self.lock:
            for pair, version in changes.items():
                self.history[pair].append(version)

    def acknowledge(self, changes: dict[int, int]) -> None:
        with self.lock:
            for pair in changes:
                self.acknowledged[pair] = len(self.history[pair]) - 1

    def floor(self) -> list[int]:
        with self.lock:
            return list(self.acknowledged)

    def allowed(self, floor: list[int]) -> list[list[int]]:
        """Per pair, the versions an answer may show that was asked for at `floor` and is here now."""
        with self.lock:
            return [self.history[pair][floor[pair] :] for pair in range(PAIRS)]


def points_of(pair: int, version: int):
    for half in (0, 1):
        vector = np.float32([pair, version % 1000, half, 1])
        yield {"id": 2 * pair + half, "vector": vector, "metadata": {"pair": pair, "version": version}}


def write(client, truth: Truth, rng: random.Random, until: float) -> int:
    version = 0
    while time.monotonic() < until:
        version += 1
        pairs = rng.sample(range(PAIRS), rng.randint(1, 5))
        if rng.random() < 0.3:
            changes = dict.fromkeys(pairs, 0)
            truth.begin(changes)
            client.delete(NAME, [2 * pair + half for pair in pairs for half in (0, 1)])
        else:
            changes = dict.fromkeys(pairs, version)
            truth.begin(changes)
            client.upsert(NAME, [point for pair in pairs for point in points_of(pair, version)])
        truth.acknowledge(changes)
    return version


def judge(points, floor: list[int], truth: Truth) -> None:
    """`points`: all points of the collection as one answer showed them."""
    ids = [point.id for point in points]
    assert len(set(ids)) == len(ids), "an id came twice"
    seen: dict[int, list[int]] = {}
    for point in points:
        assert point.id // 2 == point.metadata["pair"]
        if point.vector is not None:
            assert point.vector[1] == point.metadata["version"] % 1000, (
                "vector and metadata of different versions"
            )
        seen.setdefault(point.id // 2, []).append(point.metadata["version"])
    for pair, versions in enumerate(truth.allowed(floor)):
        halves = seen.get(pair, [0, 0])
        assert len(halves) == 2, f"half of pair {pair} is missing: {halves}"
        assert halves[0] == halves[1], f"halves of pair {pair} from two batches: {halves}"
        assert halves[0] in versions, (
            f"pair {pair} shows version {halves[0]}, only {versions} are possible (0: none)"
        )


def read(client, truth: Truth, rng: random.Random, until: float) -> int:
    answers = 0
    while time.monotonic() < until:
        floor = truth.floor()
        kind = rng.randrange(3)
        if kind == 0:
            judge(
                client.search(
                    NAME, [rng.random() * PAIRS, 0, 0, 0], limit=3 * PAIRS, with_vector=True, exact=True
                ),
                floor,
                truth,
            )
        elif kind == 1:
            filtered = client.search(
                NAME,
                [0, 0, 0, 0],
                limit=3 * PAIRS,
                filter={"field": "version", "op": ">", "value": 0},
                exact=True,
            )
            judge(filtered, floor, truth)
        else:
            judge(client.get(NAME, rng.sample(range(2 * PAIRS), 2 * PAIRS)), floor, truth)
        assert client.count(NAME) % 2 == 0
        answers += 1
    return answers


def test_searches_see_whole_batches_only(server):
    seed = int(os.environ.get("VECDB_SEED") or random.SystemRandom().randrange(2**32))
    print(f"seed {seed}; repeat with VECDB_SEED={seed}")
    truth = Truth()
    results: dict[str, int] = {}
    failures: list[BaseException] = []

    def guarded(name: str, job) -> None:
        try:
            results[name] = job(client, truth, random.Random(f"{seed}/{name}"), until)
        except BaseException as error:
            failures.append(error)

    with server.client(pool_size=READERS + 1) as client:
        # Every answer is to be whole, so searches are exact; a graph grows beside them all the same.
        client.create_collection(name=NAME, dimension=4, metric="l2", index={"type": "hnsw", "scan_below": 1})
        until = time.monotonic() + SECONDS
        jobs = [("writer", write), *((f"reader {n}", read) for n in range(READERS))]
        threads = [threading.Thread(target=guarded, args=job) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        print(results)
        assert all(count > 10 for count in results.values()), (
            "too little went on at the same time to show anything"
        )
        judge(client.search(NAME, [0, 0, 0, 0], limit=3 * PAIRS), truth.floor(), truth)
