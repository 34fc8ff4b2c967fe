"""The command: chooses data sets and participants, measures, writes the report."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.ann import docs, machine, plots, report
from bench.ann.adapters import APPROXIMATE, ENTRIES, EXACT
from bench.ann.datasets import Dataset, DatasetError, find
from bench.ann.runner import ROOT, Settings, run_section

FALLBACK = {"fashion-mnist-784": "clustered-60k-784"}  # where there is no folder of real data
SCAN_TIMEOUT_S = 600


@dataclasses.dataclass(frozen=True)
class Profile:
    exact_sets: tuple[str, ...]
    ann_sets: tuple[str, ...]
    scan_sets: tuple[tuple[str, str], ...]  # (set, element)
    exact: tuple[str, ...]
    approximate: tuple[str, ...]
    exact_ks: tuple[int, ...]
    ann_ks: tuple[int, ...]
    rounds: int
    one_by_one_count: int
    sweep_max: int
    scan_rounds: int
    seconds_max: float  # after so long no further round is begun


PROFILES = {
    "quick": Profile(
        exact_sets=("fashion-mnist-784", "clustered-200k-128"),
        ann_sets=("fashion-mnist-784",),
        scan_sets=(("fashion-mnist-784", "f32"), ("clustered-200k-128", "f32")),
        exact=("vecdb-exact", "vecdb-exact-u8", "vecdb-flat", "faiss-flat", "numpy-brute"),
        approximate=("hnswlib-native", "faiss-hnsw", "faiss-ivf", "faiss-ivfpqfs", "usearch"),
        exact_ks=(10,), ann_ks=(10, 100), rounds=3, one_by_one_count=100, sweep_max=5, scan_rounds=11,
        seconds_max=420),
    "medium": Profile(
        exact_sets=("fashion-mnist-784", "clustered-1m-128", "patches-1m-132"),
        ann_sets=("fashion-mnist-784",),
        scan_sets=(("clustered-1m-768", "f32"), ("clustered-1m-128", "f32"), ("patches-1m-132", "u8")),
        exact=("vecdb-exact", "vecdb-exact-u8", "vecdb-flat", "vecdb-flat-u8", "faiss-flat", "scann-brute",
               "usearch-exact", "numpy-brute"),
        approximate=tuple(APPROXIMATE),
        exact_ks=(10,), ann_ks=(10, 100), rounds=3, one_by_one_count=100, sweep_max=7, scan_rounds=21,
        seconds_max=2700),
    "full": Profile(
        exact_sets=("fashion-mnist-784", "clustered-1m-128", "patches-1m-132", "clustered-1m-768"),
        ann_sets=("fashion-mnist-784", "sift-castle-128", "clustered-1m-128"),
        scan_sets=(("clustered-1m-768", "f32"), ("clustered-1m-128", "f32"), ("patches-1m-132", "u8")),
        exact=tuple(EXACT), approximate=tuple(APPROXIMATE),
        exact_ks=(10, 100), ann_ks=(10, 100), rounds=5, one_by_one_count=50, sweep_max=0, scan_rounds=21,
        seconds_max=float("inf")),
}


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.ann", description=__doc__)
    parser.add_argument("--profile", choices=sorted(PROFILES), default="quick")
    parser.add_argument("--name", default="", help="results go to build/bench/NAME (default: the profile)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="the folder above NAME")
    parser.add_argument("--data", type=Path, default=ROOT / "build" / "data", help="a folder of data sets")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "bench" / "data", help="generated data sets")
    parser.add_argument("--datasets", nargs="+", help="folders of --data, paths, HDF5 files, generated sets")
    parser.add_argument("--adapters", nargs="+", help=f"of {', '.join(ENTRIES)}")
    parser.add_argument("--kinds", nargs="+", choices=("scan", "exact", "ann"), default=["scan", "exact", "ann"])
    parser.add_argument("--metric", choices=("l2", "cosine", "dot"), default="", help="of the named data sets")
    parser.add_argument("--threads", nargs="+", type=int, help="of exact search (default: 1 and all cores)")
    parser.add_argument("--ann-threads", type=int, default=1, help="of approximate search")
    parser.add_argument("--k", nargs="+", type=int, help="default: 10, and 100 for approximate search")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--seconds-max", type=float, help="after so long no further round is begun")
    parser.add_argument("--docs", type=Path, help="a page with the markers: gets the report and the plots")
    parser.add_argument("--report-only", action="store_true", help="write the report of NAME's results.json again")
    args = parser.parse_args(arguments)
    for name in args.adapters or []:
        if name not in ENTRIES:
            parser.error(f'--adapters: "{name}" is none of {", ".join(ENTRIES)}')
    cores = len(os.sched_getaffinity(0))
    for threads in (args.threads or []) + [args.ann_threads]:
        if not 1 <= threads <= cores:
            parser.error(f"--threads: {threads} is not in 1..{cores}, the cores there are")
    rounds = [] if args.rounds is None else [args.rounds]
    for name, values in (("--k", args.k or []), ("--rounds", rounds), ("--queries", [args.queries])):
        if any(value < 1 for value in values):
            parser.error(f"{name}: must be at least 1")
    args.threads = args.threads or sorted({1, cores})
    return args


def not_installed(venv: Path) -> dict[str, str]:
    """What tools/setup could not install: {package: reason}."""
    try:
        lines = (venv / "failed.txt").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.split("\t", 1) for line in lines if line.strip())
    return {pair[0]: (pair[1] if len(pair) > 1 and pair[1] else "pip gave no reason") for pair in pairs}


class Run:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.profile = PROFILES[args.profile]
        self.folder = args.out / (args.name or args.profile)
        self.venv = ROOT / "build" / "venv-bench"
        self.begin = time.monotonic()
        self.found: dict[str, Dataset | None] = {}
        self.results: dict[str, Any] = {
            "command": os.environ.get("BENCH_COMMAND") or "python -m bench.ann " + shlex.join(sys.argv[1:]),
            "machine": machine.describe(ROOT), "profile": args.profile, "not_installed": not_installed(self.venv),
            "sections": [], "scans": [], "missing_sets": {}}

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.begin:6.1f} s] {text}", flush=True)

    def dataset(self, name: str) -> Dataset | None:
        """The set of that name; its generated stand-in where there is no real one; None, named, if neither."""
        if name in self.found:
            return self.found[name]
        found = None
        try:
            found = find(name, self.args.data, self.args.cache, self.args.metric, self.say)
        except DatasetError as error:
            if self.args.datasets is not None:
                raise
            self.results["missing_sets"][name] = str(error)
            self.say(f"without {name}: {error}")
            if name in FALLBACK:
                found = find(FALLBACK[name], self.args.data, self.args.cache, "", self.say)
        self.found[name] = found
        return found

    def names(self, kind: str) -> list[str]:
        default = self.profile.exact if kind == "exact" else self.profile.approximate
        chosen = [name for name in self.args.adapters or default if ENTRIES[name].exact == (kind == "exact")]
        if kind == "ann" and chosen and (self.args.adapters is None or "vecdb-exact" in self.args.adapters):
            chosen.append("vecdb-exact")  # what an exact answer costs, as the curve's end
        return [name for name in chosen if ENTRIES[name].package not in self.results["not_installed"]]

    def settings(self, kind: str, threads: int) -> Settings:
        profile, args = self.profile, self.args
        ks = tuple(args.k) if args.k else (profile.exact_ks if kind == "exact" else profile.ann_ks)
        seconds_max = args.seconds_max if args.seconds_max is not None else profile.seconds_max
        return Settings(threads=threads, rounds=args.rounds or profile.rounds, ks=ks, query_count=args.queries,
                        one_by_one_count=min(args.queries, profile.one_by_one_count),
                        deadline=self.begin + seconds_max, venv=self.venv, scratch=self.folder / "scratch",
                        sweep_max=profile.sweep_max, qps_min=0 if kind == "exact" else 20)

    def section(self, kind: str, name: str, threads: int) -> None:
        dataset = self.dataset(name)
        names = self.names(kind)
        if dataset is None or not names:
            return
        self.say(f"{kind}: {dataset.name}, {threads} threads: {', '.join(names)}")
        entries = [ENTRIES[name] for name in names]
        section = run_section(entries, dataset, self.settings(kind, threads), self.folder / "logs", self.say)
        section.update(kind=kind, key=f"{kind}-{dataset.name}-t{threads}", threads=threads,
                       build_threads=len(os.sched_getaffinity(0)), dataset=dataset.as_json())
        self.results["sections"].append(section)
        report.save(dict(self.results, seconds=time.monotonic() - self.begin), self.folder)

    def scan(self, name: str, element: str, threads: int) -> None:
        dataset = self.dataset(name)
        if dataset is None or (element == "u8" and dataset.element != "u8"):
            return
        cores = sorted(os.sched_getaffinity(0))[:threads]
        job = {"base": str(dataset.base_path), "queries": str(dataset.queries_path), "metric": dataset.metric,
               "element": element, "cores": cores, "rounds": self.profile.scan_rounds}
        try:
            done = subprocess.run([sys.executable, "-m", "bench.ann.scan", json.dumps(job)], cwd=ROOT, text=True,
                                  capture_output=True, timeout=SCAN_TIMEOUT_S, check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            lines = str(error.stderr or "").strip().splitlines()
            self.say(f"scan of {dataset.name} failed: {error}{': ' + lines[-1] if lines else ''}")
            return
        found = dict(json.loads(done.stdout), dataset=dataset.name)
        self.results["scans"].append(found)
        self.say(f"scan: {dataset.name} {element}, {threads} threads: {found['scan_gb_s']['median']:.1f} GB/s of "
                 f"{found['read_gb_s']['median']:.1f}")

    def measure(self) -> None:
        args, profile = self.args, self.profile
        for name in args.datasets or []:  # one that is missing ends the run before hours went into the others
            self.dataset(name)
        if "scan" in args.kinds:
            sets = profile.scan_sets if args.datasets is None else [(name, "f32") for name in args.datasets]
            for name, element in sets:
                for threads in args.threads:
                    self.scan(name, element, threads)
        if "exact" in args.kinds:
            for name in args.datasets or profile.exact_sets:
                for threads in args.threads:
                    self.section("exact", name, threads)
        if "ann" in args.kinds:
            for name in args.datasets or profile.ann_sets:
                self.section("ann", name, args.ann_threads)
        self.results["seconds"] = time.monotonic() - self.begin

    def write(self) -> None:
        report.save(self.results, self.folder)
        drawn = plots.draw(self.results, self.folder)
        if not drawn:
            self.say("no plots: matplotlib is not installed (tools/setup bench)")
        text = report.markdown(self.results, {key: path.name for key, path in drawn.items()})
        (self.folder / "summary.md").write_text(text, encoding="utf-8")
        print("\n" + text)
        if self.args.docs:
            docs.write(self.results, drawn, self.args.docs)
            self.say(f"wrote {self.args.docs}")
        self.say(f"results, tables and plots are in {self.folder}")


def main(arguments: list[str] | None = None) -> int:
    run = Run(parse_arguments(arguments))
    try:
        if run.args.report_only:
            run.results = json.loads((run.folder / "results.json").read_text(encoding="utf-8"))
        else:
            run.measure()
    except (DatasetError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if not run.results["sections"] and not run.results["scans"]:
        print("bench: nothing was measured", file=sys.stderr)
        return 1
    run.write()
    return 0
