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

from bench.ann import docs, generate, machine, plots, report
from bench.ann.adapters import APPROXIMATE, ENTRIES, EXACT
from bench.ann.datasets import Dataset, DatasetError, find
from bench.ann.progress import Progress
from bench.ann.runner import ROOT, Settings, prepare as run_prepare, run_section, tunables

FALLBACK_OF_IMAGES = "clustered-60k-784"  # where there is no folder of real data
SCAN_TIMEOUT_S = 600
PREPARE_TIMEOUT_S = 4 * 3600
RECALL_ENOUGH = 0.999
BATCH_ROUNDS = 9


LARGE = 300_000_000  # numbers in a set (1 million x 768) from which exact search is only for `exact_large`


@dataclasses.dataclass(frozen=True)
class Profile:
    exact_sets: tuple[str, ...]
    ann_sets: tuple[tuple[str, tuple[str, ...]], ...]  # (set, who takes part)
    ann_apart: tuple[tuple[str, tuple[str, ...]], ...]  # the same, measured only if --only names the set
    scan_sets: tuple[tuple[str, str], ...]  # (set, element)
    exact: tuple[str, ...]
    exact_large: tuple[str, ...]
    exact_ks: tuple[int, ...]
    ann_ks: tuple[int, ...]
    fine_k: int  # of approximate search: all points of a sweep, at other k at most sweep_max
    rounds: int
    one_by_one_count: int
    work_max: float  # rows x dimensions x queries of a pass of exact search
    sweep_max: int
    scan_rounds: int
    extra_rounds: int  # at most so many are added to a section with unsteady points
    extra_exact_s: float  # at most so long are the added rounds of all exact sections
    extra_ann_s: float  # of all approximate ones
    seconds_max: float  # after so long no further round is begun
    build_timeout_s: float
    search_timeout_s: float


OURS = ("vecdb-qgraph", "vecdb-qgraph-compact", "vecdb-hnsw", "vecdb-hnsw-f16")
STRONG = (*OURS, "hnswlib-native", "faiss-hnsw", "usearch", "scann", "svs-vamana", "svs-lvq", "rabitq-symqg", "vsag")
MOST = tuple(name for name in APPROXIMATE if name not in ("hnswlib", "annoy"))
LARGE_FEW = (*OURS[:3], "hnswlib-native", "faiss-hnsw", "scann", "svs-vamana", "rabitq-symqg")
LARGEST_FEW = ("vecdb-qgraph", "hnswlib-native", "rabitq-symqg")

PROFILES = {
    "quick": Profile(
        exact_sets=("fashion-mnist-784", "clustered-200k-128"),
        ann_sets=(("fashion-mnist-784", (*OURS, "hnswlib-native", "faiss-hnsw", "faiss-ivf", "faiss-ivfpqfs", "usearch",
                                         "scann", "rabitq-symqg")),),
        ann_apart=(),
        scan_sets=(("fashion-mnist-784", "f32"), ("clustered-200k-128", "f32")),
        exact=("vecdb-exact", "vecdb-exact-u8", "vecdb-flat", "faiss-flat", "numpy-brute"), exact_large=(),
        exact_ks=(10,), ann_ks=(10, 100), fine_k=0, rounds=3, one_by_one_count=100, work_max=1.6e11, sweep_max=5,
        scan_rounds=11, extra_rounds=4, extra_exact_s=60, extra_ann_s=60, seconds_max=420,
        build_timeout_s=120, search_timeout_s=60),
    "medium": Profile(
        exact_sets=("fashion-mnist-784", "wiki-movies-384", "clustered-1m-128", "patches-1m-128", "clustered-1m-768"),
        ann_sets=(("fashion-mnist-784", MOST), ("sift-castle-128", STRONG), ("beir-bge-768", STRONG),
                  ("patches-1m-128", LARGE_FEW)),
        ann_apart=(("clustered-1m-128", LARGE_FEW), ("clustered-1m-768", LARGEST_FEW)),
        scan_sets=(("clustered-1m-768", "f32"), ("clustered-1m-128", "f32"), ("patches-1m-128", "u8")),
        exact=("vecdb-exact", "vecdb-exact-u8", "vecdb-flat", "vecdb-flat-u8", "faiss-flat", "scann-brute"),
        exact_large=("vecdb-exact", "vecdb-flat", "faiss-flat"),
        exact_ks=(10, 100), ann_ks=(1, 10, 100), fine_k=10, rounds=3, one_by_one_count=100, work_max=1.6e11,
        sweep_max=6, scan_rounds=21, extra_rounds=4, extra_exact_s=80, extra_ann_s=180, seconds_max=2400,
        build_timeout_s=900, search_timeout_s=120),
    "full": Profile(
        exact_sets=("fashion-mnist-784", "wiki-movies-384", "clustered-1m-128", "patches-1m-128", "clustered-1m-768"),
        ann_sets=tuple((name, tuple(APPROXIMATE)) for name in ("fashion-mnist-784", "sift-castle-128", "beir-bge-768",
                                                               "patches-1m-128", "clustered-1m-128",
                                                               "clustered-1m-768")),
        ann_apart=(),
        scan_sets=(("clustered-1m-768", "f32"), ("clustered-1m-128", "f32"), ("patches-1m-128", "u8")),
        exact=tuple(EXACT), exact_large=tuple(EXACT),
        exact_ks=(10, 100), ann_ks=(1, 10, 100), fine_k=10, rounds=5, one_by_one_count=100, work_max=8e11, sweep_max=0,
        scan_rounds=21, extra_rounds=4, extra_exact_s=float("inf"), extra_ann_s=float("inf"),
        seconds_max=float("inf"), build_timeout_s=7200, search_timeout_s=1800),
}


@dataclasses.dataclass(frozen=True)
class Step:
    """A part of a run: a data set, a scan, or a section."""

    kind: str
    name: str
    threads: int = 1
    element: str = "f32"

    def title(self) -> str:
        if self.kind == "data":
            return f"data {self.name}"
        words = {"scan": "one query at a time", "exact": "exact search", "ann": "approximate search"}[self.kind]
        return f"{words}, {self.name}{' u8' if self.element == 'u8' else ''}, " + report.thread_words(self.threads)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.ann", description=__doc__)
    parser.add_argument("--profile", choices=sorted(PROFILES), default="quick")
    parser.add_argument("--name", default="", help="results go to build/bench/NAME (default: the profile)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="the folder above NAME")
    parser.add_argument("--data", type=Path, default=ROOT / "build" / "data", help="a folder of data sets")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "bench" / "data", help="generated data sets")
    parser.add_argument("--datasets", nargs="+", help="folders of --data, paths, HDF5 files, generated sets")
    parser.add_argument("--adapters", nargs="+", help=f"of {', '.join(ENTRIES)}")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--only", default="", metavar="KIND[:SET],...",
                        help="measure these sections again and merge them into NAME's results.json")
    parser.add_argument("--metric", choices=("l2", "cosine", "dot"), default="", help="of the named data sets")
    parser.add_argument("--threads", nargs="+", type=int, help="of exact search (default: 1 and all cores)")
    parser.add_argument("--ann-threads", type=int, default=1, help="of approximate search")
    parser.add_argument("--k", nargs="+", type=int, help="default: 10, and 100 for approximate search")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--extra-rounds", type=int, help="at most so many more for a section with unsteady points")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--seconds-max", type=float, help="after so long no further round is begun")
    parser.add_argument("--docs", type=Path, help="a page with the markers: gets the report and the plots")
    parser.add_argument("--prepare", action="store_true",
                        help="only build the peers' indexes that are kept for large sets; measure nothing")
    parser.add_argument("--report-only", action="store_true", help="write the report of NAME's results.json again")
    parser.add_argument("--rows", type=int, help="generated sets of the profile get no more rows (to try it out)")
    args = parser.parse_args(arguments)
    for name in args.adapters or []:
        if name not in ENTRIES:
            parser.error(f'--adapters: "{name}" is none of {", ".join(ENTRIES)}')
    cores = len(os.sched_getaffinity(0))
    for threads in (args.threads or []) + [args.ann_threads]:
        if not 1 <= threads <= cores:
            parser.error(f"--threads: {threads} is not in 1..{cores}, the cores there are")
    rounds = [] if args.rounds is None else [args.rounds]
    rows = [] if args.rows is None else [args.rows]
    for name, values in (("--k", args.k or []), ("--rounds", rounds), ("--queries", [args.queries]), ("--rows", rows)):
        if any(value < 1 for value in values):
            parser.error(f"{name}: must be at least 1")
    if args.extra_rounds is not None and args.extra_rounds < 0:
        parser.error("--extra-rounds: must be at least 0")
    try:
        args.only = parse_only(args.only) if args.only else []
    except ValueError as error:
        parser.error(f"--only: {error}")
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


class MergeError(Exception):
    """Saved results that a run cannot be merged into; the text says why."""


KINDS = ("scan", "exact", "ann")


def parse_only(text: str) -> list[tuple[str, str]]:
    """KIND or KIND:SET, by commas: [(kind, set or "")]. Raises ValueError."""
    out = []
    for part in text.split(","):
        kind, _, name = part.strip().partition(":")
        if kind not in KINDS:
            raise ValueError(f'"{kind}" is none of {", ".join(KINDS)}')
        out.append((kind, name))
    return out


class Run:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.profile = PROFILES[args.profile]
        self.folder = args.out / (args.name or args.profile)
        self.venv = ROOT / "build" / "venv-bench"
        self.begin = time.monotonic()
        self.fresh: set[str] = set()  # keys of the sections that this run has measured
        self.extra_left = {"exact": self.profile.extra_exact_s, "ann": self.profile.extra_ann_s}
        self.found: dict[str, Dataset | None] = {}
        self.progress = Progress(sys.stderr, self.folder / "steps.json")
        self.results: dict[str, Any] = {
            "command": os.environ.get("BENCH_COMMAND") or "python -m bench.ann " + shlex.join(sys.argv[1:]),
            "machine": machine.describe(ROOT), "profile": args.profile, "not_installed": not_installed(self.venv),
            "sections": [], "scans": [], "missing_sets": {}, "failed_scans": {}, "everyone": list(ENTRIES)}
        about = self.results["machine"]
        self.measured = {"command": self.results["command"], "date": about["date"], "commit": about["commit"],
                         "load_at_start": about["load_at_start"]}

    def merge(self) -> None:
        """Begins with the saved results: what is measured now replaces its like, the rest stays, with its own date."""
        path = self.folder / "results.json"
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise MergeError(f"--only merges into {path}, which cannot be read: {error}") from None
        for name, now, then in (("profile", self.args.profile, saved["profile"]),
                                ("processor", self.results["machine"]["cpu"], saved["machine"]["cpu"]),
                                ("cores", self.results["machine"]["cores"], saved["machine"]["cores"])):
            if now != then:
                raise MergeError(f"--only merges into {path}, whose {name} is {then}, not {now}")
        before = {"command": saved["command"], "load_at_start": saved["machine"]["load_at_start"],
                  "date": saved["machine"]["date"], "commit": saved["machine"]["commit"]}
        for part in [*saved["sections"], *saved["scans"]]:
            part.setdefault("measured", before)
        for key in ("sections", "scans", "missing_sets", "failed_scans"):
            self.results[key] = saved[key]

    def place(self, section: dict[str, Any]) -> None:
        """Puts a section where an older one of its key was, else at the end."""
        sections = self.results["sections"]
        keys = [other["key"] for other in sections]
        if section["key"] in keys:
            sections[keys.index(section["key"])] = section
        else:
            sections.append(section)
        self.fresh.add(section["key"])

    def say(self, text: str) -> None:
        self.progress.clear()
        print(f"[{time.monotonic() - self.begin:6.1f} s] {text}", flush=True)

    def dataset(self, name: str) -> Dataset | None:
        """The set of that name; its generated stand-in where there is no real one; None, named, if neither."""
        if name in self.found:
            return self.found[name]
        self.results["missing_sets"].pop(name, None)  # what an earlier run said of it
        found = None
        try:
            found = find(name, self.args.data, self.args.cache, self.args.metric, self.say)
        except DatasetError as error:
            if self.args.datasets is not None:
                raise
            self.results["missing_sets"][name] = str(error)
            self.say(f"without {name}: {error}")
            stand_in = self.fallback(name)
            if stand_in:
                found = find(stand_in, self.args.data, self.args.cache, "", self.say)
        self.found[name] = found
        return found

    def fallback(self, name: str) -> str:
        """The generated set that takes the place of one of real data; "" if none does."""
        if name == "fashion-mnist-784":
            return self.set_name(FALLBACK_OF_IMAGES)
        try:
            spec = generate.parse(name)
        except generate.GenerateError:
            return ""
        return name.replace("patches", "clustered", 1) if spec.kind == "patches" else ""

    def set_name(self, name: str) -> str:
        """The name of a profile's set, with the rows that --rows allows."""
        try:
            spec = generate.parse(name)
        except generate.GenerateError:
            return name
        if self.args.rows is None or spec.row_count <= self.args.rows:
            return name
        return f"{spec.kind}-{self.args.rows}-{spec.dimension}-{spec.seed}"

    def names(self, kind: str, set_name: str) -> list[str]:
        profile = self.profile
        if kind == "exact":
            large = self.size(set_name) >= LARGE
            default = profile.exact_large if large and self.args.datasets is None else profile.exact
        else:
            sets = (*profile.ann_sets, *profile.ann_apart)
            everyone = tuple(dict.fromkeys(name for _, names in sets for name in names))
            default = dict((self.set_name(name), names) for name, names in sets).get(set_name, everyone)
        chosen = [name for name in self.args.adapters or default if ENTRIES[name].exact == (kind == "exact")]
        asked = self.args.adapters is None or "vecdb-exact" in self.args.adapters
        if kind == "ann" and chosen and asked and self.size(set_name) < LARGE:
            chosen.append("vecdb-exact")  # what an exact answer costs, as the curve's end
        return [name for name in chosen if ENTRIES[name].package not in self.results["not_installed"]]

    def size(self, name: str) -> int:
        """Numbers in a set: exactly once it is found, before that by its name."""
        found = self.found.get(name)
        if found is not None:
            return found.row_count * found.dimension
        try:
            spec = generate.parse(name)
        except generate.GenerateError:
            return 60_000 * 784
        return spec.row_count * spec.dimension

    def settings(self, kind: str, threads: int) -> Settings:
        profile, args = self.profile, self.args
        exact = kind == "exact"
        ks = tuple(args.k) if args.k else (profile.exact_ks if exact else profile.ann_ks)
        seconds_max = args.seconds_max if args.seconds_max is not None else profile.seconds_max
        return Settings(threads=threads, rounds=args.rounds or profile.rounds, ks=ks,
                        extra_rounds=profile.extra_rounds if args.extra_rounds is None else args.extra_rounds,
                        extra_seconds=self.extra_left[kind], query_count=args.queries,
                        one_by_one_count=min(args.queries, profile.one_by_one_count),
                        work_max=profile.work_max if exact else float("inf"),
                        build_timeout_s=profile.build_timeout_s, search_timeout_s=profile.search_timeout_s,
                        deadline=self.begin + seconds_max, venv=self.venv, scratch=self.folder / "scratch",
                        kept=self.args.cache, processor=self.results["machine"]["cpu"]["model"],
                        sweep_max=0 if exact else profile.sweep_max, fine_k=profile.fine_k, qps_min=0 if exact else 20,
                        recall_enough=2 if exact else RECALL_ENOUGH, batch_rounds=0 if exact else BATCH_ROUNDS)

    def section(self, kind: str, name: str, threads: int) -> None:
        dataset = self.dataset(name)
        names = self.names(kind, name)
        key = f"{kind}-{dataset.name if dataset else ''}-t{threads}"
        if dataset is None or not names or key in self.fresh:
            return  # the last: two sets have the same stand-in
        self.say(f"{kind}: {dataset.name}, {report.thread_words(threads)}: {', '.join(names)}")
        entries = [ENTRIES[name] for name in names]
        section = run_section(entries, dataset, self.settings(kind, threads), self.folder / "logs", self.say,
                              self.progress.advance)
        section.update(kind=kind, key=key, threads=threads, build_threads=len(os.sched_getaffinity(0)),
                       dataset=dataset.as_json(), measured=self.measured)
        self.extra_left[kind] -= section["extra_seconds"]
        self.place(section)
        report.save(dict(self.results, seconds=time.monotonic() - self.begin), self.folder)

    def prepare(self) -> None:
        """Builds what later runs need not build: peers' indexes over the large sets."""
        for step in self.steps():
            dataset = self.dataset(step.name) if step.kind == "ann" else None
            if dataset is None:
                continue
            self.say(f"indexes of peers over {dataset.name}")
            settings = dataclasses.replace(self.settings("ann", 1), build_timeout_s=PREPARE_TIMEOUT_S,
                                           deadline=float("inf"), scratch=self.folder / "scratch-kept")
            run_prepare([ENTRIES[name] for name in self.names("ann", step.name)], dataset, settings,
                        self.folder / "logs", self.say)

    def scan(self, name: str, element: str, threads: int) -> None:
        dataset = self.dataset(name)
        if dataset is None or (element == "u8" and dataset.element != "u8"):
            return
        cores = sorted(os.sched_getaffinity(0))[:threads]
        job = {"base": str(dataset.base_path), "queries": str(dataset.queries_path), "metric": dataset.metric,
               "element": element, "cores": cores, "rounds": self.profile.scan_rounds}
        like = [found for found in self.results["scans"]
                if (found["dataset"], found["element"], found["threads"]) == (dataset.name, element, threads)]
        self.results["failed_scans"].pop(f"{dataset.name}, {report.thread_words(threads)}", None)
        try:
            done = subprocess.run([sys.executable, "-m", "bench.ann.scan", json.dumps(job)], cwd=ROOT, text=True,
                                  capture_output=True, timeout=SCAN_TIMEOUT_S, check=True,
                                  env=dict(os.environ, GLIBC_TUNABLES=tunables()))
            found = dict(json.loads(done.stdout), dataset=dataset.name, measured=self.measured)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired, ValueError) as error:
            lines = str(getattr(error, "stderr", "") or error).strip().splitlines() or [type(error).__name__]
            self.results["failed_scans"][f"{dataset.name}, {report.thread_words(threads)}"] = lines[-1][:200]
            self.say(f"one query at a time over {dataset.name} failed: {lines[-1]}")
            return
        if like:
            self.results["scans"][self.results["scans"].index(like[0])] = found
        else:
            self.results["scans"].append(found)
        self.say(f"scan: {dataset.name} {element}, {report.thread_words(threads)}: "
                 f"{found['scan_gb_s']['median']:.1f} GB/s of {found['read_gb_s']['median']:.1f}")

    def steps(self) -> list[Step]:
        """All of the run in its order. Sets come first: one that is missing shows before hours went into others."""
        args, profile = self.args, self.profile
        steps = []
        if "scan" in args.kinds:
            sets = profile.scan_sets if args.datasets is None else [(name, "f32") for name in args.datasets]
            steps += [Step("scan", self.set_name(name), threads, element) for name, element in sets
                      for threads in args.threads]
        if "exact" in args.kinds:
            steps += [Step("exact", self.set_name(name), threads) for name in args.datasets or profile.exact_sets
                      for threads in args.threads]
        if "ann" in args.kinds:
            steps += [Step("ann", self.set_name(name), args.ann_threads)
                      for name in args.datasets or [name for name, _ in profile.ann_sets]]
            wanted = {self.set_name(name) for kind, name in args.only if kind == "ann"}
            steps += [Step("ann", self.set_name(name), args.ann_threads)
                      for name, _ in (profile.ann_apart if args.datasets is None else ())
                      if self.set_name(name) in wanted]
        if args.only:
            names = {self.set_name(name) for _, name in args.only}
            known = {step.name for step in steps} | {""}
            if names - known:
                raise MergeError(f"--only: this run has no set {', '.join(sorted(names - known))}")
            chosen = {(kind, self.set_name(name)) for kind, name in args.only}
            steps = [step for step in steps if {(step.kind, ""), (step.kind, step.name)} & chosen]
        return [Step("data", name) for name in dict.fromkeys(step.name for step in steps)] + steps

    def guess(self, step: Step) -> float:
        """Seconds that a step may take on some machine: only its ratio to the others matters."""
        size = self.size(step.name)
        if step.kind == "data":
            made = (self.args.cache / step.name / "gt_ids.npy").is_file() or (self.args.data / step.name).is_dir()
            return 0.1 if made else 1 + size * 8e-8
        if step.kind == "scan":
            return 1 + size * (1e-8 + self.profile.scan_rounds * 4e-10)
        settings = self.settings(step.kind, step.threads)
        names = self.names(step.kind, step.name)
        if step.kind == "exact":
            work = min(settings.work_max, size * settings.query_count) * len(settings.ks) * settings.rounds
            return len(names) * (1 + size * 3e-9 + work * 1.5e-11 / step.threads)
        passes = sum(12 if k == settings.fine_k else settings.sweep_max or 12 for k in settings.ks) * settings.rounds
        return len(names) * (2 + size * 6e-7 + passes * 0.3)

    def measure(self) -> None:
        steps = self.steps()
        if self.args.only:
            self.merge()
        warning = report.load_warning(self.measured, self.results["machine"]["cores"])
        if warning:
            self.say(warning)
        self.progress.plan({step.title(): self.guess(step) for step in steps})
        for step in steps:
            self.progress.begin(step.title())
            if step.kind == "data":
                self.dataset(step.name)
            elif step.kind == "scan":
                self.scan(step.name, step.element, step.threads)
            else:
                self.section(step.kind, step.name, step.threads)
        self.progress.save()
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
        elif run.args.prepare:
            run.prepare()
            return 0
        else:
            run.measure()
    except (DatasetError, MergeError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if not run.results["sections"] and not run.results["scans"]:
        print("bench: nothing was measured", file=sys.stderr)
        return 1
    run.write()
    return 0
