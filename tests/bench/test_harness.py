"""The benchmark harness on tiny generated data: our adapters and numpy's brute force, no peer needed."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench.ann import (adapters, cli, curves, datasets, docs, generate, machine, progress, report, runner,  # noqa: E402
                       truth)

BUILD = Path(os.environ.get("VECDB_BIN_DIR", ROOT / "build" / "release"))
SPEC = "clustered-3k-24"


@pytest.fixture(scope="session")
def library() -> Path:
    """The shared library vecdb_bench of the build under test, built if need be."""
    cache = (BUILD / "CMakeCache.txt").read_text(encoding="utf-8")
    if "VECDB_SANITIZE:STRING=\n" not in cache:
        pytest.skip("a sanitized library does not load into a plain python")
    built = subprocess.run(["cmake", "--build", str(BUILD), "--target", "vecdb_bench"], capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return BUILD / "libvecdb_bench.so"


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("bench-data")


@pytest.fixture(scope="session")
def dataset(cache: Path) -> datasets.Dataset:
    return datasets.generated(SPEC, cache, cache, say=lambda text: None)


def naive(base: np.ndarray, queries: np.ndarray, metric: str, k: int) -> np.ndarray:
    """The oracle: float64, one distance after the other, ties to the lower row."""
    out = []
    for query in queries:
        distances = [truth.distances_f64(base[row:row + 1], query, metric)[0] for row in range(len(base))]
        out.append(sorted(range(len(base)), key=lambda row: (distances[row], row))[:k])
    return np.array(out)


# --- data ------------------------------------------------------------------------------------------------------------


def test_generated_data_are_the_same_each_time_and_clustered(dataset, tmp_path):
    again = datasets.generated(SPEC, tmp_path, tmp_path, say=lambda text: None)
    assert np.array_equal(dataset.base(), again.base())
    assert np.array_equal(dataset.queries(), again.queries())
    other = datasets.generated(SPEC + "-2", tmp_path, tmp_path, say=lambda text: None)
    assert not np.array_equal(dataset.base(), other.base())
    # Near neighbours stand out from the crowd, which uniform data never show: that is what the generator is for.
    base, query = dataset.base(), dataset.queries()[0]
    distances = np.sort(truth.distances_f64(base, query, "l2"))
    assert distances[9] < 0.3 * np.median(distances)


def test_generated_data_come_whole_or_not_at_all(cache, tmp_path):
    with pytest.raises(generate.GenerateError, match="which is not there"):
        generate.patches(generate.parse("patches-100-128"), tmp_path, tmp_path / "base.npy", tmp_path / "queries.npy")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["clustered", "clustered-1m", "clustered-0-8", "patches-1k-100", "uniform-1k-8",
                                  "clustered-1g-8"])
def test_bad_names_of_generated_sets(name):
    with pytest.raises(generate.GenerateError):
        generate.parse(name)


def test_names_of_generated_sets():
    assert generate.parse("clustered-1m-768") == generate.Spec("clustered", 1_000_000, 768, 1)
    assert generate.parse("patches-200k-128-7") == generate.Spec("patches", 200_000, 128, 7)


def test_patches_are_windows_of_the_images(tmp_path):
    folder = tmp_path / "fashion-mnist-784"
    folder.mkdir()
    rng = np.random.default_rng(5)
    images = rng.integers(1, 256, (20, 784), dtype=np.uint8)
    np.save(folder / "base.npy", images)
    np.save(folder / "queries.npy", images[:5])
    base, queries = tmp_path / "base.npy", tmp_path / "queries.npy"
    generate.patches(generate.parse("patches-500-128"), tmp_path, base, queries)
    cut = np.load(base)
    assert cut.shape == (500, 128) and cut.dtype == np.uint8 and len(np.unique(cut, axis=0)) == 500
    windows = {image.reshape(28, 28)[y:y + 16, x:x + 8].tobytes() for image in images for y in range(13)
               for x in range(21)}
    assert all(row.tobytes() in windows for row in cut)
    with pytest.raises(generate.GenerateError, match="holds 5460 patches, not 7000"):
        generate.patches(generate.parse("patches-7k-128"), tmp_path, base, queries)


@pytest.mark.parametrize("metric", ["l2", "cosine", "dot"])
def test_ground_truth_is_exact_with_ties(metric):
    rng = np.random.default_rng(11)
    base = rng.integers(-3, 4, (400, 6)).astype(np.float32)  # many ties
    base[7] = 0
    queries = rng.integers(-3, 4, (9, 6)).astype(np.float32)
    assert np.array_equal(truth.nearest(base, queries, metric, 10), naive(base, queries, metric, 10))


def test_ground_truth_across_blocks_far_from_the_origin(monkeypatch):
    # So far out float32 products cannot tell the rows apart: only the bound and float64 can.
    monkeypatch.setattr(truth, "BLOCK_ROWS", 64)
    rng = np.random.default_rng(3)
    base = (1000 + 0.01 * rng.standard_normal((500, 16))).astype(np.float32)
    queries = base[:6] + np.float32(0.001)
    assert np.array_equal(truth.nearest(base, queries, "l2", 5), naive(base, queries, "l2", 5))
    with pytest.raises(ValueError, match="k: 501"):
        truth.nearest(base, queries, "l2", 501)


def test_a_folder_that_is_no_data_set(tmp_path):
    with pytest.raises(datasets.DatasetError, match="base.npy is missing"):
        datasets.from_folder(tmp_path)
    for name, array in (("base", np.zeros((4, 3), np.float32)), ("queries", np.zeros((2, 5), np.float32)),
                        ("gt_ids", np.zeros((2, 2), np.int64))):
        np.save(tmp_path / f"{name}.npy", array)
    with pytest.raises(datasets.DatasetError, match="rows have 3 dimensions, queries 5"):
        datasets.from_folder(tmp_path)
    np.save(tmp_path / "queries.npy", np.zeros((3, 3), np.float32))
    with pytest.raises(datasets.DatasetError, match="3 queries, but ground truth of 2"):
        datasets.from_folder(tmp_path)
    with pytest.raises(datasets.DatasetError, match="no such file"):
        datasets.find(str(tmp_path / "none.hdf5"), tmp_path, tmp_path)
    with pytest.raises(datasets.DatasetError, match="metric dot"):
        datasets.find(SPEC, tmp_path, tmp_path, "dot")


def test_hdf5(dataset, tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "small-24-euclidean.hdf5"
    with h5py.File(path, "w") as file:
        file.attrs["distance"] = "euclidean"
        file["train"], file["test"], file["neighbors"] = dataset.base(), dataset.queries(), dataset.gt_ids()
    found = datasets.find(str(path), tmp_path, tmp_path)
    assert (found.row_count, found.dimension, found.metric) == (3000, 24, "l2")
    assert np.array_equal(found.base(), dataset.base())
    with h5py.File(path, "a") as file:
        del file["neighbors"]
    with pytest.raises(datasets.DatasetError, match="neighbors"):
        datasets.find(str(path), tmp_path, tmp_path)


# --- recall, curves --------------------------------------------------------------------------------------------------


def test_recall_counts_ties_once_and_nothing_twice(tmp_path):
    base = np.array([[0], [1], [1], [2], [9]], dtype=np.float32)
    for name, array in (("base", base), ("queries", base[:1]), ("gt_ids", np.array([[0, 1]]))):
        np.save(tmp_path / f"{name}.npy", array)
    found = datasets.from_folder(tmp_path)
    assert truth.recall(found, np.array([[0, 1]]), 2) == (1.0, True)
    assert truth.recall(found, np.array([[0, 2]]), 2) == (1.0, False)  # as near as the true second
    assert truth.recall(found, np.array([[0, 0]]), 2) == (0.5, False)
    assert truth.recall(found, np.array([[0, 3]]), 2) == (0.5, False)
    assert truth.recall(found, np.array([[-1, 99]]), 2) == (0.0, False)


def point(recall: float, qps: float) -> dict:
    return {"recall": recall, "qps_median": qps}


def test_interpolation_between_measured_points():
    points = [point(0.8, 1000), point(0.9, 100), point(0.85, 50), point(0.97, 10)]
    assert curves.frontier(points) == [(0.8, 1000), (0.9, 100), (0.97, 10)]
    assert curves.at_recall(points, 0.9) == (100, False)
    value, interpolated = curves.at_recall(points, 0.85)
    assert interpolated and value == pytest.approx(1000 ** 0.5 * 100 ** 0.5)
    assert curves.at_recall(points, 0.5) == (1000, False)  # surpassed, not extrapolated
    assert curves.at_recall(points, 0.98) is None
    assert curves.at_recall([], 0.9) is None


# --- running ---------------------------------------------------------------------------------------------------------


def test_a_participant_that_cannot_run_is_named(dataset, tmp_path, monkeypatch):
    broken = adapters.Entry("broken", "no_such_module", "X", "x", exact=True)
    monkeypatch.setitem(adapters.ENTRIES, "broken", broken)
    settings = runner.Settings(rounds=1, query_count=5, scratch=tmp_path / "scratch", venv=tmp_path)
    entries = [broken, adapters.ENTRIES["hnswlib-bf"], adapters.ENTRIES["numpy-brute"]]
    section = runner.run_section(entries, dataset, settings, tmp_path / "logs", lambda text: None)
    # The worker has a registry of its own, which knows no "broken": its process dies, and the others go on.
    assert "exit code 1" in section["failed"]["broken"] and "KeyError" in section["failed"]["broken"]
    assert "not compiled for this machine" in section["failed"]["hnswlib-bf"]
    assert section["results"]["numpy-brute"]["points"][0]["recall"] == 1.0


def test_a_participant_that_hangs_is_ended(dataset, tmp_path):
    process = runner.Process(adapters.ENTRIES["numpy-brute"], runner.Settings(scratch=tmp_path, venv=tmp_path), 1,
                             tmp_path / "log")
    with pytest.raises(runner.Failed, match="took more than 0 s"):
        process.ask({"do": "build", "base": str(dataset.base_path)}, 0)
    assert process.process.poll() is not None
    process.close()


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


@pytest.mark.parametrize("fault,want", [
    ("crash", "its process ended with signal SIGSEGV"), ("hang", "build took more than 1 s and was ended"),
    ("shape", "it answered 5 queries with ids of shape (5, 10, 2)"), ("raise", "MemoryError: no room"), ("none", "")])
def test_a_peer_that_breaks_costs_only_itself(dataset, tmp_path, fault, want):
    folder = tmp_path / "peers" / "hnswlib-native"
    (folder / "hnswlib-9.0.dist-info").mkdir(parents=True)
    (folder / "hnswlib-9.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: hnswlib\nVersion: 9.0\n")
    (folder / "hnswlib.py").write_text(FAKE.replace("FAULT", fault), encoding="utf-8")
    settings = runner.Settings(rounds=2, query_count=5, scratch=tmp_path / "scratch", venv=tmp_path, sweep_max=2,
                               build_timeout_s=1 if fault == "hang" else 60)
    entries = [adapters.ENTRIES["hnswlib-native"], adapters.ENTRIES["numpy-brute"]]
    if fault == "hang":
        entries.reverse()  # numpy needs more than a second to load on a busy machine; it is first asked, and lives on
        settings.build_timeout_s = 5
        want = "build took more than 5 s and was ended"
    shares = []
    section = runner.run_section(entries, dataset, settings, tmp_path / "logs", lambda text: None, shares.append)
    assert want in section["failed"].get("hnswlib-native", "") and ("hnswlib-native" in section["failed"]) == bool(want)
    assert section["results"]["numpy-brute"]["points"][0]["rounds"] == 2
    assert shares == sorted(shares) and 0 < shares[-1] <= 1
    if not want:
        points = section["results"]["hnswlib-native"]["points"]
        assert len(points) == 2 and all(p["recall"] <= 0.1 and not p["identical_ids"] for p in points)


def test_time_that_is_up_ends_a_run_with_what_it_has(dataset, tmp_path):
    settings = runner.Settings(rounds=2, query_count=5, scratch=tmp_path / "scratch", venv=tmp_path, deadline=0)
    section = runner.run_section([adapters.ENTRIES["numpy-brute"]], dataset, settings, tmp_path / "logs",
                                 lambda text: None)
    assert section["results"] == {} and "time was up" in section["failed"]["numpy-brute"]


def test_a_sweep_has_no_two_settings_that_are_the_same_search(dataset, tmp_path):
    settings = runner.Settings(sweep_max=4)
    graph = runner.Contestant(adapters.ENTRIES["svs-vamana"], dataset, settings, [0], tmp_path / "log")
    assert [params["window"] for params in graph.sweep(10)] == [10, 48, 128, 512]
    assert [params["window"] for params in graph.sweep(100)] == [100, 192, 256, 512]
    lists = runner.Contestant(adapters.ENTRIES["faiss-ivf"], dataset, settings, [0], tmp_path / "log")
    assert lists.sweep(10) == lists.sweep(100) and len(lists.sweep(10)) == 4


def test_large_sets_get_fewer_queries(dataset, tmp_path):
    size = dataset.row_count * dataset.dimension
    for name, work, want in (("numpy-brute", float("inf"), 300), ("numpy-brute", size * 50, 50),
                             ("numpy-brute", size, runner.QUERIES_MIN), ("vecdb-flat", float("inf"), 40),
                             ("vecdb-flat", size * 300, 30)):
        settings = runner.Settings(query_count=300, one_by_one_count=40, work_max=work)
        contestant = runner.Contestant(adapters.ENTRIES[name], dataset, settings, [0], tmp_path / "log")
        assert contestant.query_count() == want, (name, work)


def test_all_that_fit_live_at_once_and_ours_beside_everyone(dataset):
    entries = [adapters.ENTRIES[name] for name in ("vecdb-exact", "faiss-flat", "scann-brute", "svs-flat")]
    assert runner.groups(entries, dataset, 1 << 40) == [entries]
    small = runner.groups(entries, dataset, int(dataset.row_count * dataset.dimension * 4 * 1.6 * 2 / 0.7) + 8)
    assert [[entry.name for entry in group] for group in small] == [
        ["vecdb-exact", "faiss-flat"], ["vecdb-exact", "scann-brute"], ["vecdb-exact", "svs-flat"]]


def test_a_whole_run(library, dataset, cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VECDB_BENCH_LIB", str(library))
    monkeypatch.setattr(cli, "not_installed", lambda venv: {})
    page = tmp_path / "docs" / "benchmarks.md"
    page.parent.mkdir()
    page.write_text(f"before\n{docs.BEGIN}\nold\n{docs.END}\nafter\n", encoding="utf-8")
    arguments = ["--datasets", SPEC, "--cache", str(cache), "--data", str(tmp_path / "none"), "--out", str(tmp_path),
                 "--name", "run", "--adapters", "vecdb-exact", "vecdb-flat", "numpy-brute", "--rounds", "2",
                 "--queries", "50", "--k", "1", "10", "--threads", "1", "--docs", str(page)]
    assert cli.main(arguments) == 0, capsys.readouterr().err
    results = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    exact = next(section for section in results["sections"] if section["kind"] == "exact")
    assert set(exact["results"]) == {"vecdb-exact", "vecdb-flat", "numpy-brute"} and exact["failed"] == {}
    for name in ("vecdb-exact", "vecdb-flat"):
        points = exact["results"][name]["points"]
        assert [p["k"] for p in points] == [1, 10]
        assert all(p["identical_ids"] and p["recall"] == 1.0 and p["rounds"] == 2 for p in points), name
        assert all(0 < p["qps_min"] <= p["qps_median"] <= p["qps_max"] for p in points)
        # The index's memory is the rows and little else.
        assert exact["results"][name]["index_bytes"] == 3000 * 24 * 4
    assert results["scans"][0]["bytes"] == 3000 * 24 * 4 and results["scans"][0]["read_gb_s"]["min"] > 0
    with open(tmp_path / "run" / "results.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 and {row["section"] for row in rows} == {"exact"}  # nobody is here who approximates
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    for part in ("| vecdb-exact | 10 |", "plain read, GB/s", "Everyone took part.", results["machine"]["cpu"]["model"]):
        assert part in text
    assert not any((tmp_path / "run" / "scratch").glob("*/*"))


def tiny(tmp_path: Path, cache: Path, *more: str) -> list[str]:
    return ["--cache", str(cache), "--data", str(tmp_path / "none"), "--out", str(tmp_path), "--name", "tiny",
            "--rounds", "1", "--queries", "10", "--threads", "1", *more]


def test_a_profile_without_any_data_takes_generated_ones(library, cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VECDB_BENCH_LIB", str(library))
    assert cli.main(tiny(tmp_path, cache, "--profile", "medium", "--rows", "400", "--adapters", "vecdb-exact",
                         "vecdb-exact-u8", "numpy-brute")) == 0, capsys.readouterr().err
    results = json.loads((tmp_path / "tiny" / "results.json").read_text(encoding="utf-8"))
    # Patches have the generated set as their stand-in, which is there already: measured once.
    assert [section["key"] for section in results["sections"] if section["kind"] == "exact"] == [
        "exact-clustered-400-784-1-t1", "exact-clustered-400-128-1-t1", "exact-clustered-400-768-1-t1"]
    assert set(results["missing_sets"]) == {"fashion-mnist-784", "patches-400-128-1"}
    assert all(point["recall"] == 1.0 for section in results["sections"] for found in section["results"].values()
               for point in found["points"])
    text = (tmp_path / "tiny" / "summary.md").read_text(encoding="utf-8")
    assert "| fashion-mnist-784 | everywhere | " in text and "### In short" in text
    # The next run knows how long each step takes.
    steps = json.loads((tmp_path / "tiny" / "steps.json").read_text(encoding="utf-8"))
    assert "exact search, clustered-400-768-1, 1 thread" in steps and all(seconds >= 0 for seconds in steps.values())


def test_a_named_hdf5_file_is_measured(library, dataset, tmp_path, monkeypatch, capsys):
    h5py = pytest.importorskip("h5py")
    monkeypatch.setenv("VECDB_BENCH_LIB", str(library))
    path = tmp_path / "mine-24-angular.hdf5"
    with h5py.File(path, "w") as file:
        file.attrs["distance"] = "angular"
        file["train"], file["test"] = dataset.base(), dataset.queries()
        file["neighbors"] = truth.nearest(dataset.base(), dataset.queries(), "cosine", 10)
    assert cli.main(tiny(tmp_path, tmp_path / "cache", "--datasets", str(path), "--adapters", "vecdb-exact",
                         "numpy-brute", "--kinds", "exact")) == 0, capsys.readouterr().err
    (section,) = json.loads((tmp_path / "tiny" / "results.json").read_text(encoding="utf-8"))["sections"]
    assert section["dataset"]["metric"] == "cosine" and section["dataset"]["name"] == "mine-24-angular"
    assert {name: found["points"][0]["recall"] for name, found in section["results"].items()} == {
        "vecdb-exact": 1.0, "numpy-brute": 1.0}


def test_the_plan_of_a_profile(tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "not_installed", lambda venv: {"scann": "no wheel"})
    run = cli.Run(cli.parse_arguments(["--profile", "medium", "--out", str(tmp_path), "--threads", "1"]))
    steps = run.steps()
    assert [step.name for step in steps if step.kind == "data"] == [
        "clustered-1m-768", "clustered-1m-128", "patches-1m-128", "fashion-mnist-784"]
    assert len({step.title() for step in steps}) == len(steps) and all(run.guess(step) > 0 for step in steps)
    assert {step.kind for step in steps[:4]} == {"data"}
    # The largest set is for few, a package that does not install for nobody.
    assert run.names("exact", "clustered-1m-768") == ["vecdb-exact", "vecdb-flat", "faiss-flat"]
    assert "vecdb-exact-u8" in run.names("exact", "patches-1m-128")
    few, all_of_them = (run.names("ann", name) for name in ("patches-1m-128", "fashion-mnist-784"))
    assert "hnswlib-native" in few and set(few) < set(all_of_them) and few[-1] == "vecdb-exact"
    assert not {"scann", "scann-brute"} & {*few, *all_of_them, *run.names("exact", "patches-1m-128")}
    small = cli.Run(cli.parse_arguments(["--profile", "medium", "--out", str(tmp_path), "--rows", "2000"]))
    assert {step.name for step in small.steps()} == {"clustered-2000-768-1", "clustered-2000-128-1",
                                                     "patches-2000-128-1", "fashion-mnist-784"}
    assert small.names("ann", "patches-2000-128-1")[:-1] == few[:-1]


def test_u8_rows_and_the_shims_errors(library, monkeypatch):
    monkeypatch.setenv("VECDB_BENCH_LIB", str(library))
    from bench.ann.adapters import vecdb

    rng = np.random.default_rng(1)
    base, queries = (rng.integers(0, 256, (count, 33), dtype=np.uint8) for count in (500, 4))
    want = naive(base, queries, "l2", 7)
    loaded = vecdb.load()
    for function in ("vecdb_bench_flat", "vecdb_bench_split", "vecdb_bench_exact"):
        for threads in (1, 2, 3):
            ids, _ = vecdb.search(loaded, function, base, queries, 7, "l2", threads)
            assert np.array_equal(ids, want), (function, threads)
        few, _ = vecdb.search(loaded, function, base[:3], queries, 7, "l2", 2)
        assert np.array_equal(np.sort(few[:, :3]), [[0, 1, 2]] * 4) and (few[:, 3:] == -1).all(), function
        with pytest.raises(RuntimeError, match="threads: 1000 is over the limit of 256"):
            vecdb.search(loaded, function, base, queries, 7, "l2", 1000)
    with pytest.raises(ValueError, match="queries float32"):
        vecdb.search(loaded, "vecdb_bench_flat", base, queries.astype(np.float32), 7, "l2", 1)
    with pytest.raises(RuntimeError, match="aligned"):
        vecdb.read_seconds(loaded, vecdb.aligned_copy(base, np.uint8).reshape(-1)[1:], 1, 1)


# --- progress --------------------------------------------------------------------------------------------------------


class Screen:
    def __init__(self, terminal: bool) -> None:
        self.terminal, self.text = terminal, ""

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


def test_progress_learns_from_this_run_and_from_the_last(tmp_path):
    now = [0.0]
    screen, memory = Screen(True), tmp_path / "steps.json"
    shown = progress.Progress(screen, memory, clock=lambda: now[0])
    shown.plan({"a": 10, "b": 20, "c": 30})
    shown.begin("a")
    assert shown.seconds_left() == 60
    now[0] = 5
    shown.advance(0.5)
    assert shown.seconds_left() == pytest.approx(5 + 50)
    now[0] = 20  # twice what was guessed: so will the others be
    shown.begin("b")
    assert shown.seconds_left() == pytest.approx(40 + 60)
    assert "0:20, about 1:40 to go: b" in screen.text
    now[0] = 50
    shown.begin("c")
    now[0] = 60
    shown.save()
    assert screen.text.endswith("\r\x1b[K")
    again = progress.Progress(screen, memory, clock=lambda: now[0])
    again.plan({"a": 1, "b": 1, "c": 1, "d": 7})
    again.begin("a")
    assert again.seconds_left() == 20 + 30 + 10 + 7


@pytest.mark.parametrize("content", ["", "[1]", "{\"a\": \"x\"}", "{"])
def test_progress_without_a_terminal_or_with_a_broken_memory(tmp_path, content):
    memory = tmp_path / "steps.json"
    memory.write_text(content, encoding="utf-8")
    screen = Screen(False)
    shown = progress.Progress(screen, memory, clock=lambda: 0.0)
    shown.plan({"a": 3})
    shown.begin("a")
    assert shown.seconds_left() == 3
    shown.advance(1)
    shown.save()
    assert screen.text == ""


# --- report ----------------------------------------------------------------------------------------------------------


def result(points: list[tuple[int, float, float]]) -> dict:
    return {"build_seconds": 2.5, "memory_bytes": 4000, "peak_rss_bytes": 10 ** 9, "index_bytes": None,
            "version": "1.2", "note": "", "exact": True,
            "points": [{"params": {"ef": i}, "k": k, "queries": 10, "recall": recall, "identical_ids": recall == 1,
                        "rounds": 3, "qps_median": qps, "qps_min": qps * 0.9, "qps_max": qps * 1.1, "seconds": []}
                       for i, (k, recall, qps) in enumerate(points)]}


def results(kind: str, found: dict) -> dict:
    section = {"kind": kind, "key": f"{kind}-set-t1", "threads": 1, "build_threads": 2, "groups": [["a"]],
               "failed": {"ngt-anng": "no metric dot"}, "results": found,
               "dataset": {"name": "set", "rows": 100, "dimension": 8, "metric": "l2", "source": "here"}}
    cpu = machine.parse_cpuinfo("processor\t: 0\nmodel name\t: A B\nflags\t\t: fpu avx2 avx512f\n")
    assert cpu == {"model": "A B", "processors": 1, "flags": ["avx2", "avx512f"]}
    return {"command": "make bench", "machine": dict(machine.describe(ROOT), cpu=cpu), "seconds": 60.0,
            "not_installed": {"scann": "no wheel"}, "sections": [section], "scans": []}


def test_the_report_names_ratios_and_who_is_missing():
    text = report.markdown(results("exact", {"vecdb-exact": result([(10, 1.0, 300.0)]),
                                             "faiss-flat": result([(10, 1.0, 200.0)])}), {"exact-set-t1.k10": "x.svg"})
    assert "| vecdb-exact | 10 | 10 | 300 | 270-330 | 1.50 | 1.0000 | yes | 40 |" in text
    assert "| scann | everywhere | does not install: no wheel |" in text
    assert "| ngt-anng | set, 1 thread | no metric dot |" in text
    assert "| set: 100 x 8, l2 | 1 | 10 | 300 (1.50x) | - | 200 |" in text
    assert "![exact-set-t1.k10](x.svg)" in text and "`make bench`" in text
    text = report.markdown(results("ann", {"hnswlib-native": result([(10, 0.9, 200.0), (10, 0.99, 50.0)]),
                                           "faiss-hnsw": result([(10, 0.95, 400.0)])}), {})
    assert "| faiss-hnsw | 400* (2.00x) | 400* (" in text and "| - |" in text
    assert "| hnswlib-native | 200* (1.00x) |" in text and "50* (1.00x) |" in text


def test_docs_keep_what_is_not_theirs():
    assert docs.insert(f"a\n{docs.BEGIN}\nx\n{docs.END}\nb\n", "new") == f"a\n{docs.BEGIN}\n\nnew\n\n{docs.END}\nb\n"
    for text in ("no markers", f"{docs.END}{docs.BEGIN}", f"{docs.BEGIN}{docs.BEGIN}{docs.END}"):
        with pytest.raises(ValueError):
            docs.insert(text, "new")


@pytest.mark.parametrize("arguments", [["--adapters", "nobody"], ["--threads", "0"], ["--rows", "0"],
                                       ["--threads", "100000"],
                                       ["--k", "0"], ["--rounds", "0"], ["--kinds", "x"]])
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.parse_arguments(arguments)
    assert stopped.value.code == 2 and arguments[0] in capsys.readouterr().err


def test_a_named_set_that_is_not_there(tmp_path, capsys):
    assert cli.main(["--datasets", "nowhere", "--out", str(tmp_path), "--data", str(tmp_path)]) == 1
    assert 'bench: nowhere: no folder' in capsys.readouterr().err


def test_every_entry_has_an_adapter_file_and_a_pinned_package():
    pinned = {line.split("==")[0] for line in (ROOT / "bench" / "requirements.txt").read_text().splitlines()
              if "==" in line}
    for name, entry in adapters.ENTRIES.items():
        assert (ROOT / "bench" / "ann" / "adapters" / f"{entry.module}.py").is_file(), name
        assert entry.package == "" or entry.package in pinned, name
    for profile in cli.PROFILES.values():
        assert set(profile.exact) | set(profile.exact_large) <= set(adapters.EXACT)
        assert all(set(names) <= set(adapters.APPROXIMATE) for _, names in profile.ann_sets)
