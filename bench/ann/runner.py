"""Runs participants against one data set: each in its own pinned process, in rounds A B C, B C A, C A B."""

from __future__ import annotations

import dataclasses
import json
import os
import selectors
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np

from bench.ann.adapters import Entry
from bench.ann.datasets import Dataset
from bench.ann.truth import recall

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
                    "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
ROOT = Path(__file__).resolve().parents[2]
MEMORY_SHARE = 0.7  # of what is available, for all processes that live at once
ONE_BY_ONE_COST = 10  # of a row read for one query, against one of a batch
QUERIES_MIN = 20  # of a pass, however long it takes
SPREAD_MAX = 0.15  # (max - min) / median of a point's rounds; above it rounds are added, and what stays so is marked
EXTRA_STEP = 2  # rounds that are added at a time: one may fall out at either end
LARGE = 100_000_000  # numbers in a set from which peers' indexes are kept (storage.py), and nobody builds twice
BATCH_K = 10
BATCH_RECALL = 0.95
BATCH_QUERIES = 1000
BATCH_SECONDS = 0.1  # of a round of one thread, about: what calling costs weighs nothing then
HUGE_PAGES = "glibc.malloc.hugetlb=1"  # GLIBC_TUNABLES of all: malloc asks for transparent huge pages, as numpy does


class Failed(Exception):
    """A participant cannot go on; the text says why."""


@dataclasses.dataclass
class Settings:
    """What holds for a whole run."""

    threads: int = 1
    rounds: int = 3
    extra_rounds: int = 0  # at most so many more, while a point is unsteady
    extra_seconds: float = float("inf")  # at most so long for them
    ks: tuple[int, ...] = (10,)
    query_count: int = 1000
    one_by_one_count: int = 200  # queries of participants that scan all rows for one query at a time
    work_max: float = float("inf")  # rows x dimensions x queries of one pass; larger ones get fewer queries
    build_timeout_s: float = 3600
    search_timeout_s: float = 900
    deadline: float = float("inf")  # on time.monotonic(): past it nothing further is built, no further round begun
    venv: Path = ROOT / "build" / "venv-bench"
    scratch: Path = ROOT / "build" / "bench" / "scratch"
    kept: Path | None = None  # where peers' indexes over large sets are kept
    processor: str = ""  # that they are of
    sweep_max: int = 0  # at most so many points of a sweep; 0: all
    fine_k: int = 0  # of which all points are measured nevertheless
    recall_enough: float = 2  # a sweep ends after the first point that reaches it
    batch_rounds: int = 0  # of the same batch by one thread and by all
    qps_min: float = 0  # a sweep ends after the first point slower than this


@dataclasses.dataclass
class Point:
    """One participant at one setting: what its rounds measured."""

    params: dict[str, Any]
    k: int
    query_count: int
    seconds: list[float]
    recall: float
    identical: bool  # the ids are those of the ground truth, in its order
    note: str = ""  # what the library says of how it searched, here

    def qps(self) -> list[float]:
        return [self.query_count / s for s in self.seconds]

    def as_json(self, rounds: int) -> dict[str, Any]:
        """rounds: how many were asked for, before any were added."""
        qps = self.qps()
        return {"params": self.params, "k": self.k, "queries": self.query_count, "recall": self.recall,
                "identical_ids": self.identical, "rounds": len(qps), "qps_median": statistics.median(qps),
                "qps_min": min(qps), "qps_max": max(qps), "spread": middle_spread(qps, rounds), "note": self.note,
                "seconds": self.seconds}


def middle_spread(values: list[float], count: int) -> float:
    """(max - min) / median of the `count` middle values; of all if there are no more. Rounds that are added can thus
    show that one odd round was an accident, though its time stays among the point's."""
    ordered = sorted(values)
    outside = max(0, len(ordered) - count) // 2
    inside = ordered[outside:len(ordered) - outside]
    return (inside[-1] - inside[0]) / statistics.median(ordered)


def tunables() -> str:
    """GLIBC_TUNABLES for a participant: those of the environment, and malloc's huge pages."""
    given = [part for part in os.environ.get("GLIBC_TUNABLES", "").split(":")
             if part and not part.startswith("glibc.malloc.hugetlb=")]
    return ":".join([*given, HUGE_PAGES])


class Process:
    """A worker and the pipe to it."""

    def __init__(self, entry: Entry, settings: Settings, build_threads: int, log: Path) -> None:
        self.entry = entry
        self.log = log
        self.scratch = settings.scratch / entry.name
        shutil.rmtree(self.scratch, ignore_errors=True)
        environment = dict(os.environ, BENCH_SCRATCH=str(self.scratch), PYTHONPATH=self.path(settings.venv),
                           PYTHONDONTWRITEBYTECODE="1", PYTHONNOUSERSITE="1", GLIBC_TUNABLES=tunables())
        for name in THREAD_VARIABLES:
            environment[name] = str(build_threads)
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "w", encoding="utf-8") as out:
            self.process = subprocess.Popen([sys.executable, "-m", "bench.ann.worker", entry.name], cwd=ROOT,
                                            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=out, start_new_session=True)

    def path(self, venv: Path) -> str:
        folders = [str(ROOT)]
        own = venv / "peers" / self.entry.folder
        if self.entry.folder and own.is_dir():
            folders.insert(0, str(own))
        return os.pathsep.join(folders)

    def ask(self, command: dict[str, Any], timeout_s: float,
            idle: Callable[[], None] | None = None) -> dict[str, Any]:
        """Its answer. idle is called about once a second while it works. Raises Failed."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(command).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Failed(self.last_words()) from None
        end = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not selector.select(min(1.0, max(0.0, end - time.monotonic())) if idle else timeout_s):
                if idle is None or time.monotonic() >= end:
                    self.kill()
                    raise Failed(f"{command['do']} took more than {timeout_s:.0f} s and was ended")
                idle()
        line = self.process.stdout.readline()
        if not line:
            raise Failed(self.last_words())
        try:
            answer = json.loads(line)
        except ValueError:
            self.kill()
            raise Failed(f"it answered {line[:80]!r} to {command['do']}") from None
        for key in ("unsupported", "error"):
            if key in answer:
                raise Failed(answer[key])
        return answer

    def last_words(self) -> str:
        code = self.process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        lines = [line for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        return f"its process ended with {how}" + (f"; it last printed: {lines[-1][:200]}" if lines else "")

    def kill(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # its own session: whatever the library started goes with it
        except ProcessLookupError:
            pass
        self.process.wait()

    def close(self) -> None:
        assert self.process.stdin is not None
        if self.process.poll() is None:
            try:
                self.process.stdin.write(b'{"do": "quit"}\n')
                self.process.stdin.close()
                self.process.wait(timeout=10)
            except (BrokenPipeError, subprocess.TimeoutExpired):
                self.kill()
        shutil.rmtree(self.scratch, ignore_errors=True)


class Contestant:
    """An entry in one section: its process, its points so far."""

    def __init__(self, entry: Entry, dataset: Dataset, settings: Settings, cores: list[int], log: Path) -> None:
        self.entry = entry
        self.dataset = dataset
        self.settings = settings
        self.cores = cores
        self.log = log
        self.process: Process | None = None
        self.built: dict[str, Any] = {}
        self.points: dict[str, Point] = {}
        self.dropped: set[str] = set()

    def build(self, build_cores: list[int], idle: Callable[[], None] | None = None) -> None:
        if time.monotonic() > self.settings.deadline:
            raise Failed("the run's time was up before it was its turn")
        if self.entry.folder.endswith("-native") and not (self.settings.venv / "peers" / self.entry.folder).is_dir():
            raise Failed("it is not compiled for this machine here (tools/setup bench does that)")
        self.process = Process(self.entry, self.settings, len(build_cores), self.log)
        self.built = self.process.ask(
            {"do": "build", "base": str(self.dataset.base_path), "queries": str(self.dataset.queries_path),
             "metric": self.dataset.metric, "threads": self.settings.threads, "cores": self.cores,
             "build_cores": build_cores, "keep": self.keep_folder(), "processor": self.settings.processor,
             "alone": self.entry.alone and not self.large()}, self.settings.build_timeout_s, idle)

    def large(self) -> bool:
        return self.dataset.row_count * self.dataset.dimension >= LARGE

    def keep_folder(self) -> str:
        """Where the index is kept, or is to be; "" where it is built each time."""
        if self.settings.kept is None or self.entry.exact or self.entry.ours or not self.large():
            return ""
        return str(self.settings.kept / self.dataset.name / "indexes" / self.entry.name)

    def sweep(self, k: int) -> list[dict[str, Any]]:
        sweep = list(self.entry.sweep)
        bound = self.entry.at_least_k
        if bound:  # all values below k would be the same search
            sweep = [dict(params, **{bound: max(params[bound], k)}) for params in sweep]
            sweep = [params for i, params in enumerate(sweep) if params not in sweep[:i]]
        most = 0 if k == self.settings.fine_k else self.settings.sweep_max
        if most and len(sweep) > most:
            chosen = np.unique(np.linspace(0, len(sweep) - 1, most).round().astype(int))
            sweep = [sweep[i] for i in chosen]
        return sweep

    def query_count(self) -> int:
        wanted, cost = self.settings.query_count, self.dataset.row_count * self.dataset.dimension
        if self.entry.one_by_one:
            wanted, cost = self.settings.one_by_one_count, cost * ONE_BY_ONE_COST
        if cost * wanted > self.settings.work_max:
            wanted = min(wanted, max(QUERIES_MIN, int(self.settings.work_max // cost)))
        return min(wanted, self.dataset.query_count)

    def run_round(self) -> None:
        """Every setting once."""
        assert self.process is not None
        for k in self.settings.ks:
            ended = False
            for params in self.sweep(k):
                key = json.dumps([k, params], sort_keys=True)
                if ended and key not in self.points:
                    self.dropped.add(key)
                if key in self.dropped:
                    continue
                point = self.measure(key, k, params)
                ended = ended or max(point.qps()) < self.settings.qps_min or point.recall >= self.settings.recall_enough

    def measure(self, key: str, k: int, params: dict[str, Any]) -> Point:
        assert self.process is not None
        first = key not in self.points
        ids_path = self.settings.scratch / f"{self.entry.name}-ids.npy"
        count = self.query_count()
        command = {"do": "search", "k": k, "params": params, "query_count": count,
                   "warm_count": min(count, 32) if first else min(count, 2), "ids": str(ids_path) if first else ""}
        answer = self.process.ask(command, self.settings.search_timeout_s)
        self.built["peak_rss_bytes"] = max(self.built["peak_rss_bytes"], answer["peak_rss_bytes"])
        if first:
            ids = np.load(ids_path)
            if ids.ndim != 2 or len(ids) != count:
                raise Failed(f"it answered {count} queries with ids of shape {ids.shape}")
            found, identical = recall(self.dataset, ids, k)
            self.points[key] = Point(params, k, count, [], found, identical, answer["note"])
        self.points[key].seconds.append(answer["seconds"])
        return self.points[key]

    def run_batch(self, all_cores: list[int]) -> None:
        """How much faster all cores answer a batch than one does, at about recall 0.95 of BATCH_K."""
        assert self.process is not None
        points = [point for point in self.points.values() if point.k == BATCH_K]
        if not points or len(all_cores) < 2:
            return
        enough = [point for point in points if point.recall >= BATCH_RECALL]
        point = max(enough, key=lambda p: max(p.qps())) if enough else max(points, key=lambda p: p.recall)
        repeats = max(1, round(BATCH_SECONDS * max(point.qps()) / BATCH_QUERIES))
        answer = self.process.ask({"do": "batch", "k": point.k, "params": point.params, "query_count": BATCH_QUERIES,
                                   "rounds": self.settings.batch_rounds, "repeats": repeats, "all_cores": all_cores,
                                   "threads": self.settings.threads, "cores": self.cores},
                                  self.settings.search_timeout_s)
        one, many = (answer["seconds"][str(count)] for count in (1, len(all_cores)))
        self.built["batch"] = {"params": point.params, "recall": point.recall, "queries": BATCH_QUERIES,
                               "threads": len(all_cores), "seconds_one": one, "seconds_all": many,
                               "ratio": statistics.median(a / b for a, b in zip(one, many))}

    def unsteady(self) -> int:
        """Points whose rounds differ by more than SPREAD_MAX."""
        return sum(middle_spread(point.qps(), self.settings.rounds) > SPREAD_MAX for point in self.points.values())

    def close(self) -> None:
        if self.process is not None:
            self.process.close()
            self.process = None

    def as_json(self) -> dict[str, Any]:
        return dict(self.built, points=[point.as_json(self.settings.rounds) for point in self.points.values()],
                    exact=self.entry.exact, element=self.entry.element, build_params=self.entry.build)


def memory_available() -> int:
    with open("/proc/meminfo", encoding="ascii") as info:
        for line in info:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 1 << 62


def groups(entries: list[Entry], dataset: Dataset, available: int) -> list[list[Entry]]:
    """Who may live at once: the rows and what comes on top for each, within the memory there is. Ours are in every
    group, so that everyone is measured beside them."""
    share = 1.3 if all(entry.exact for entry in entries) else 1.6
    cost = int(dataset.row_count * dataset.dimension * 4 * share)
    room = max(1, int(available * MEMORY_SHARE) // max(cost, 1))
    ours = [entry for entry in entries if entry.name.startswith("vecdb-")]
    others = [entry for entry in entries if not entry.name.startswith("vecdb-")]
    if not others or len(entries) <= room:
        return [ours + others]
    size = max(1, room - len(ours))
    return [ours + others[i:i + size] for i in range(0, len(others), size)]


def run_section(entries: list[Entry], dataset: Dataset, settings: Settings, logs: Path,
                say: Callable[[str], None], advance: Callable[[float], None] = lambda share: None) -> dict[str, Any]:
    """Measures `entries` on `dataset`: {"results": {name: ...}, "failed": {name: reason}, "groups": [[name]],
    "extra_seconds": of the rounds that were added}. advance is told the share of the work that is done."""
    all_cores = sorted(os.sched_getaffinity(0))
    cores = all_cores[:settings.threads]
    settings.scratch.mkdir(parents=True, exist_ok=True)
    out: dict[str, Any] = {"results": {}, "failed": {}, "groups": [], "extra_seconds": 0.0}
    takes_part = []
    for entry in entries:
        if entry.element not in ("f32", "own", dataset.element):
            continue
        takes_part.append(entry)
    merged: dict[str, Contestant] = {}
    sets = groups(takes_part, dataset, memory_available())
    steps = sum(len(group) for group in sets) * (1 + settings.rounds)
    done = 0
    for group in sets:
        out["groups"].append([entry.name for entry in group])
        alive: list[Contestant] = []
        try:
            for entry in group:
                log = logs / f"{dataset.name}-t{settings.threads}-{entry.name}.log"
                contestant = merged.get(entry.name) or Contestant(entry, dataset, settings, cores, log)
                alive.append(contestant)
                # An exact search builds nothing, and its BLAS takes its threads from the start.
                build_cores = cores if entry.exact else all_cores
                attempt(contestant, lambda c=contestant, b=build_cores: c.build(b, lambda: advance(done / steps)), out,
                        say)
                done += 1
                advance(done / steps)
                if entry.name not in out["failed"]:
                    merged[entry.name] = contestant
                    say(f"  {entry.name}: built in {contestant.built['build_seconds']:.1f} s")
            round_seconds = 0.0
            for number in range(settings.rounds):
                if number > 0 and time.monotonic() > settings.deadline:
                    say(f"  time is up: {number} rounds instead of {settings.rounds}")
                    break
                begin = time.monotonic()
                for contestant in in_turn(alive, number, out):
                    attempt(contestant, contestant.run_round, out, say)
                    done += 1
                    advance(done / steps)
                round_seconds = time.monotonic() - begin
            else:
                steady(alive, settings, round_seconds, out, say)
            if settings.batch_rounds:
                for contestant in in_turn(alive, 0, out):
                    if contestant.entry.batch:
                        attempt(contestant, lambda c=contestant: c.run_batch(all_cores), out, say)
        finally:
            for contestant in alive:
                contestant.close()
    for name, contestant in merged.items():
        if contestant.points:
            out["results"][name] = contestant.as_json()
            out["results"][name]["cores"] = cores
    return out


def prepare(entries: list[Entry], dataset: Dataset, settings: Settings, logs: Path, say: Callable[[str], None]) -> None:
    """Builds those indexes of peers that are kept, one after the other, and measures nothing else."""
    cores = sorted(os.sched_getaffinity(0))
    settings.scratch.mkdir(parents=True, exist_ok=True)
    for entry in entries:
        contestant = Contestant(entry, dataset, settings, cores[:1], logs / f"{dataset.name}-kept-{entry.name}.log")
        if not contestant.keep_folder():
            continue
        try:
            contestant.build(cores)
            say(f"  {entry.name}: {contestant.built['build_cpu_seconds']:.0f} s of processor time")
        except Failed as reason:
            say(f"  {entry.name}: {reason}")
        finally:
            contestant.close()


def in_turn(alive: list[Contestant], number: int, out: dict[str, Any]) -> list[Contestant]:
    """Who is asked in that round, in its order: each round begins with another one, so that nobody always follows the
    same neighbour."""
    going = [contestant for contestant in alive if contestant.entry.name not in out["failed"]]
    first = number % max(1, len(going))
    return going[first:] + going[:first]


def steady(alive: list[Contestant], settings: Settings, round_seconds: float, out: dict[str, Any],
           say: Callable[[str], None]) -> None:
    """Adds rounds of all, EXTRA_STEP at a time, while a point of them is unsteady and there is time for it."""
    number = settings.rounds
    while number < settings.rounds + settings.extra_rounds:
        unsteady = sum(contestant.unsteady() for contestant in in_turn(alive, 0, out))
        more = EXTRA_STEP * round_seconds
        if unsteady == 0:
            return
        if out["extra_seconds"] + more > settings.extra_seconds or time.monotonic() + more > settings.deadline:
            say(f"  {unsteady} points are unsteady, and there is no time for more rounds")
            return
        say(f"  {unsteady} points are unsteady: {EXTRA_STEP} more rounds")
        begin = time.monotonic()
        for _ in range(EXTRA_STEP):
            for contestant in in_turn(alive, number, out):
                attempt(contestant, contestant.run_round, out, say)
            number += 1
        round_seconds = (time.monotonic() - begin) / EXTRA_STEP
        out["extra_seconds"] += time.monotonic() - begin


def attempt(contestant: Contestant, step: Callable[[], None], out: dict[str, Any], say: Callable[[str], None]) -> None:
    name = contestant.entry.name
    try:
        step()
    except Failed as reason:
        out["failed"][name] = str(reason)
    except (ArithmeticError, LookupError, OSError, TypeError, ValueError) as error:  # answers that make no sense
        out["failed"][name] = f"its answer cannot be used: {type(error).__name__}: {error}"[:300]
    else:
        return
    say(f"  {name}: {out['failed'][name]}")
    contestant.close()
