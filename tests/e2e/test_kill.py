"""P1 and P2: an acknowledged write survives kill -9, and a batch is there whole or not at all.

Several writers send batches without a pause: upserts of new points, replacements of old ones and deletes, each
batch of random size. At a random moment the server gets SIGKILL; each writer then has at most one request of
unknown fate. The server is started again (sometimes it is killed once more while it recovers) and everything is
read back:

- every point of an acknowledged batch is as it was written, its vector to the bit and its metadata to the letter;
- every point deleted by an acknowledged batch is gone;
- a batch of unknown fate is there as a whole, or nothing of it is.

Each writer has ids of its own, so for these the truth is exact. All writers also replace points of a small common
pool; there the batch with the highest acknowledged sequence number must have won, or one of unknown fate that
turned out to be there.

VECDB_KILLS: how often (100). VECDB_SEED: repeats a run's choices (the moments in the server's life still differ).
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from dataclasses import dataclass, field

import numpy as np
from vecdb import ConnectionFailed, Point, VecDBClient

KILLS = int(os.environ.get("VECDB_KILLS") or 100)
WRITERS = 4
DIMENSION = 16
BATCH_MAX = 50
LIVE_MAX = (
    1500  # per writer: beyond it, deletes keep the collection small enough to be read back after every kill
)
COMMON_IDS = 40
KILL_AFTER_S = (0.005, 0.120)
NAME = "kill"


def content(batch: int, point_id: int | str) -> tuple[bytes, str]:
    """The vector's bytes and the metadata's JSON text that batch `batch` writes at `point_id`."""
    rng = random.Random(f"{batch}/{point_id!r}")
    vector = np.frombuffer(rng.randbytes(4 * DIMENSION), "<u4") & 0xBFFFFFFF  # exponents short of infinity
    metadata = {"batch": batch, "id": point_id, "text": "héllo" * rng.randrange(4), "n": rng.random()}
    if rng.random() < 0.01:
        metadata["long"] = "x" * rng.randrange(20_000)  # a record that spans pages of the log
    return vector.astype("<u4").tobytes(), json.dumps(metadata, ensure_ascii=False)


def make_point(batch: int, point_id: int | str) -> Point:
    vector, metadata = content(batch, point_id)
    return Point(point_id, json.loads(metadata), np.frombuffer(vector, "<f4"))


def batch_of(point: Point) -> int:
    """Which batch wrote this point; fails unless all of it is what that batch wrote there."""
    assert point.metadata and "batch" in point.metadata, f"point {point.id!r} has metadata {point.metadata!r}"
    vector, metadata = content(point.metadata["batch"], point.id)
    assert point.vector.tobytes() == vector, f"point {point.id!r}: the vector differs from what was written"
    assert json.dumps(point.metadata, ensure_ascii=False) == metadata, f"point {point.id!r}: the metadata differs"
    return point.metadata["batch"]


@dataclass
class Batch:
    number: int
    upserts: list[int | str] = field(default_factory=list)  # of this writer's own ids
    deletes: list[int | str] = field(default_factory=list)
    common: list[str] = field(default_factory=list)


@dataclass
class Writer:
    """What one client thread knows: its own points as acknowledged, and the one batch whose fate is open."""

    index: int
    rng: random.Random
    live: dict[int | str, int] = field(default_factory=dict)  # id -> batch that wrote it last
    gone: list[int | str] = field(default_factory=list)  # deleted since the last check
    common: dict[str, tuple[int, int]] = field(default_factory=dict)  # id -> (sequence number, batch)
    open_batch: Batch | None = None
    batches: int = 0
    created: int = 0
    acknowledged: int = 0

    def new_id(self) -> int | str:
        self.created += 1
        number = self.index + WRITERS * self.created
        return number if number % 3 else f"w{number}"

    def next_batch(self) -> Batch:
        self.batches += 1
        batch = Batch(self.index + WRITERS * self.batches)
        size = self.rng.randint(1, BATCH_MAX)
        live = list(self.live)
        if live and self.rng.random() < (0.6 if len(live) > LIVE_MAX else 0.15):
            batch.deletes = self.rng.sample(live, min(size, len(live)))
            return batch
        replaced = self.rng.sample(live, min(self.rng.randrange(size), len(live)))
        batch.upserts = replaced + [self.new_id() for _ in range(size - len(replaced))]
        batch.common = [f"common{n}" for n in self.rng.sample(range(COMMON_IDS), self.rng.randrange(3))]
        self.rng.shuffle(batch.upserts)
        return batch

    def settle(self, batch: Batch, seq: int) -> None:
        """`batch` is known to be there."""
        for point_id in batch.deletes:
            del self.live[point_id]
            self.gone.append(point_id)
        for point_id in batch.upserts:
            self.live[point_id] = batch.number
        for point_id in batch.common:
            self.common[point_id] = (seq, batch.number)

    def work(self, client: VecDBClient, began: threading.Event) -> None:
        """Writes until the server is gone."""
        while True:
            self.open_batch = batch = self.next_batch()
            try:
                if batch.deletes:
                    result = client.delete(NAME, batch.deletes)
                    changed = len(batch.deletes)
                else:
                    ids = batch.upserts + batch.common
                    result = client.upsert(NAME, [make_point(batch.number, point_id) for point_id in ids])
                    changed = len(ids)
            except ConnectionFailed as error:
                if not error.maybe_sent:
                    self.open_batch = None
                return
            assert result.changed == changed
            began.set()
            self.settle(batch, result.seq)
            self.open_batch = None
            self.acknowledged += 1


class Crew:
    """All writers, and the checks after a kill."""

    def __init__(self, seed: int) -> None:
        self.writers = [Writer(index, random.Random(f"{seed}/{index}")) for index in range(WRITERS)]
        self.common: dict[str, tuple[int, int]] = {}
        self.in_flight = self.applied = self.points_checked = 0

    def write_until_killed(self, server, seconds: float) -> None:
        began = threading.Event()
        failures: list[BaseException] = []

        def guarded(writer: Writer) -> None:
            try:
                writer.work(client, began)
            except BaseException as error:
                failures.append(error)
                began.set()

        with server.client(pool_size=WRITERS) as client:
            threads = [threading.Thread(target=guarded, args=(writer,)) for writer in self.writers]
            for thread in threads:
                thread.start()
            assert began.wait(60), "no write was acknowledged"
            time.sleep(seconds)
            server.kill()
            for thread in threads:
                thread.join()
        if failures:
            raise failures[0]

    def check(self, client: VecDBClient) -> None:
        opened: dict[int, Batch] = {}
        for writer in self.writers:
            if writer.open_batch is not None:
                self.in_flight += 1
                if self.fate(client, writer, writer.open_batch):
                    opened[writer.open_batch.number] = writer.open_batch
                    self.applied += 1
                writer.open_batch = None
        for writer in self.writers:
            self.check_own(client, writer)
        self.check_common(client, opened)
        expected = sum(len(writer.live) for writer in self.writers) + len(self.common)
        assert client.count(NAME) == expected, "points are there that should not be, or the other way round"

    def fate(self, client: VecDBClient, writer: Writer, batch: Batch) -> bool:
        """Whether a batch without an answer is there; fails when half of it is."""
        ids = batch.upserts or batch.deletes
        there = {point.id: batch_of(point) for point in client.get(NAME, ids)}
        after = {point_id: batch.number for point_id in batch.upserts}
        before = {point_id: writer.live[point_id] for point_id in ids if point_id in writer.live}
        assert there in (before, after), f"half a batch: {batch}: wanted {before} or {after}, found {there}"
        if there == before:
            return False
        writer.settle(Batch(batch.number, batch.upserts, batch.deletes), seq=0)
        return True

    def check_own(self, client: VecDBClient, writer: Writer) -> None:
        ids = list(writer.live)
        points = client.get(NAME, ids)
        self.points_checked += len(points)
        assert {point.id: batch_of(point) for point in points} == writer.live
        assert [point.id for point in points] == ids
        back = [point.id for point in client.get(NAME, writer.gone)]
        assert back == [], f"deleted points are back: {back}"
        writer.gone.clear()

    def check_common(self, client: VecDBClient, opened: dict[int, Batch]) -> None:
        """`opened`: batches without an answer that are there; only the server knows their place in the order."""
        for writer in self.writers:
            for point_id, (seq, batch) in writer.common.items():
                if seq > self.common.get(point_id, (0, 0))[0]:
                    self.common[point_id] = (seq, batch)
            writer.common.clear()
        common_ids = [f"common{n}" for n in range(COMMON_IDS)]
        found = {point.id: batch_of(point) for point in client.get(NAME, common_ids)}
        for batch in opened.values():
            assert found.keys() >= set(batch.common), (
                f"half a batch: {batch}: of its common points, {found} are there"
            )
        for point_id, number in found.items():
            seq, newest = self.common.get(point_id, (0, 0))
            assert number == newest or number in opened, (
                f"{point_id}: batch {number}, acknowledged last: {newest}"
            )
            self.common[point_id] = (seq, number)
        assert found.keys() == self.common.keys()


def test_kill_loses_nothing_acknowledged_and_leaves_no_half_batch(vecdb_server):
    seed = int(os.environ.get("VECDB_SEED") or random.SystemRandom().randrange(2**32))
    print(f"seed {seed}; repeat with VECDB_SEED={seed} VECDB_KILLS={KILLS}")
    rng = random.Random(seed)
    server = vecdb_server().start()
    crew = Crew(seed)
    with server.client() as client:
        client.create_collection(name=NAME, dimension=DIMENSION, metric="l2")
    for _ in range(KILLS):
        crew.write_until_killed(server, rng.uniform(*KILL_AFTER_S))
        if rng.random() < 0.2:
            server.spawn()
            time.sleep(rng.uniform(0, 0.02))
            server.kill()
        server.start()
        with server.client() as client:
            crew.check(client)
    server.stop()
    acknowledged = sum(writer.acknowledged for writer in crew.writers)
    print(f"{KILLS} kills, {acknowledged} batches acknowledged, {crew.in_flight} in flight at a kill,")
    print(f"{crew.applied} of these there afterwards; {crew.points_checked} points read back and compared")
    assert crew.in_flight >= KILLS / 2, "the kills must hit writes in flight"
