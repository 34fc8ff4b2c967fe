"""The benchmark harness on tiny generated data: our adapters and numpy's brute force, no peer needed."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from harness_world import FAKE, ROOT, SPEC, naive, result, results

from bench.ann import adapters, cli, curves, datasets, docs, generate, machine, progress, report, runner, truth

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


def test_whole_numbers_are_told_from_others(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "WHOLE_ROWS", 3)
    assert not dataset.whole and not dataset.as_json()["whole_numbers"]
    array = np.arange(40).reshape(10, 4)
    for dtype in (np.uint8, np.int8, np.float32, np.float16):
        assert datasets.whole_numbers(array.astype(dtype))
    last = array.astype(np.float16)
    last[9, 3] += 0.5
    assert not datasets.whole_numbers(last)
    for name, values in (("base", last), ("queries", array[:2].astype(np.float16)), ("gt_ids", array[:2])):
        np.save(tmp_path / f"{name}.npy", values)
    found = datasets.from_folder(tmp_path)  # float16 is measured as float32, which holds the same numbers
    assert (found.element, found.whole) == ("f16", False)


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


def test_the_spread_is_of_the_middle_rounds():
    assert runner.middle_spread([100, 110, 90], 3) == pytest.approx(0.2)
    assert runner.middle_spread([100, 20, 102, 98, 400], 3) == pytest.approx(0.04)  # one odd round at either end
    assert runner.middle_spread([100, 20, 30, 98, 101], 3) == pytest.approx(70 / 98)  # two at one end: no accident
    assert runner.middle_spread([50], 3) == 0


class Clocked:
    """Takes the part of a contestant whose times are told beforehand."""

    def __init__(self, name: str, qps: list[float], settings: runner.Settings, order: list[str]) -> None:
        self.entry = adapters.ENTRIES[name]
        self.settings, self.qps, self.order = settings, list(qps), order
        self.points = {"p": runner.Point({}, 10, 1, [], 1.0, True)}

    def run_round(self) -> None:
        self.order.append(self.entry.name)
        self.points["p"].seconds.append(1 / self.qps.pop(0))

    unsteady = runner.Contestant.unsteady


@pytest.mark.parametrize("qps,allowed,rounds", [
    ([100, 102, 98], 100, 3),  # steady from the start
    ([100, 102, 50, 101, 99], 100, 5),  # an accident
    ([100, 50, 55, 101, 52, 99, 54], 100, 7),  # disturbed to the end
    ([100, 50, 55], 0, 3)])  # no time
def test_rounds_are_added_while_a_point_is_unsteady(qps, allowed, rounds):
    settings = runner.Settings(rounds=3, extra_rounds=4, extra_seconds=allowed)
    order: list[str] = []
    alive = [Clocked("vecdb-exact", qps, settings, order), Clocked("faiss-flat", [10.0] * 7, settings, order),
             Clocked("numpy-brute", [10.0] * 7, settings, order)]
    out = {"failed": {"numpy-brute": "broken"}, "extra_seconds": 0.0}
    said: list[str] = []
    for number in range(3):
        for contestant in runner.in_turn(alive, number, out):
            contestant.run_round()
    runner.steady(alive, settings, 1.0, out, said.append)
    assert [len(contestant.points["p"].seconds) for contestant in alive] == [rounds, rounds, 0]
    ours, theirs = "vecdb-exact", "faiss-flat"
    assert order == [name for i in range(rounds) for name in ((ours, theirs), (theirs, ours))[i % 2]]
    assert bool(said) == (qps[:3] != [100, 102, 98]) and ("no time" in "".join(said)) == (allowed == 0)
    assert (out["extra_seconds"] > 0) == (rounds > 3)


def test_each_round_begins_with_another(dataset):
    order: list[str] = []
    alive = [Clocked(name, [1.0], runner.Settings(), order) for name in ("vecdb-exact", "faiss-flat", "scann-brute")]
    names = [[c.entry.name for c in runner.in_turn(alive, number, {"failed": {}})] for number in range(4)]
    assert [turn[0] for turn in names] == ["vecdb-exact", "faiss-flat", "scann-brute", "vecdb-exact"]
    assert names[1] == ["faiss-flat", "scann-brute", "vecdb-exact"]
    assert runner.in_turn([], 1, {"failed": {}}) == []


def test_everyones_malloc_asks_for_huge_pages(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0:glibc.malloc.arena_max=3")
    assert runner.tunables() == "glibc.malloc.arena_max=3:glibc.malloc.hugetlb=1"
    monkeypatch.delenv("GLIBC_TUNABLES")  # of several, glibc leaves the first only to be read in /proc
    process = runner.Process(adapters.ENTRIES["numpy-brute"], runner.Settings(scratch=tmp_path, venv=tmp_path), 1,
                             tmp_path / "log")
    try:
        answer = process.ask({"do": "build", "base": str(dataset.base_path), "queries": str(dataset.queries_path),
                              "metric": "l2", "threads": 1, "cores": [0], "build_cores": [0]}, 60)
        assert answer["anonymous_bytes"] > 0 and (answer["huge_page_bytes"] is None or answer["huge_page_bytes"] >= 0)
        environment = Path(f"/proc/{process.process.pid}/environ").read_bytes().split(b"\0")
        assert b"GLIBC_TUNABLES=glibc.malloc.hugetlb=1" in environment
    finally:
        process.close()


def test_each_point_keeps_its_own_note(dataset, tmp_path):
    settings = runner.Settings(ks=(1, 10), scratch=tmp_path / "scratch")
    settings.scratch.mkdir()
    contestant = runner.Contestant(adapters.ENTRIES["numpy-brute"], dataset, settings, [0], tmp_path / "log")
    contestant.built = {"peak_rss_bytes": 0, "note": "before any search"}

    class Answers:
        def ask(self, command: dict, timeout_s: float) -> dict:
            if command["ids"]:
                np.save(command["ids"], np.zeros((command["query_count"], command["k"]), np.int64))
            return {"seconds": 1.0, "peak_rss_bytes": 1, "note": f"k is {command['k']}"}

    contestant.process = Answers()
    contestant.run_round()
    contestant.run_round()
    assert [point["note"] for point in contestant.as_json()["points"]] == ["k is 1", "k is 10"]
    assert contestant.as_json()["note"] == "before any search"


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
                 "--queries", "50", "--k", "1", "10", "--threads", "1", "--extra-rounds", "0", "--docs", str(page)]
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
    assert set(results["missing_sets"]) == {"fashion-mnist-784", "wiki-movies-384", "patches-400-128-1",
                                            "sift-castle-128", "beir-bge-768"}
    assert all(point["recall"] == 1.0 for section in results["sections"] for found in section["results"].values()
               for point in found["points"])
    text = (tmp_path / "tiny" / "summary.md").read_text(encoding="utf-8")
    assert "| fashion-mnist-784 | everywhere | " in text and "### In short" in text
    # The next run knows how long each step takes.
    steps = json.loads((tmp_path / "tiny" / "steps.json").read_text(encoding="utf-8"))
    assert "exact search, clustered-400-768-1, 1 thread" in steps and all(seconds >= 0 for seconds in steps.values())


def test_some_sections_again_merged_into_the_saved_ones(library, cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VECDB_BENCH_LIB", str(library))
    page, path = tmp_path / "benchmarks.md", tmp_path / "tiny" / "results.json"
    sets = ["--datasets", "clustered-300-24", "clustered-400-24", "--adapters", "vecdb-exact", "numpy-brute",
            "--docs", str(page)]
    again = tiny(tmp_path, cache, *sets, "--only", "exact:clustered-400-24,scan")
    assert cli.main(again) == 1 and "cannot be read" in capsys.readouterr().err
    monkeypatch.setenv("BENCH_COMMAND", "the first command")
    assert cli.main(tiny(tmp_path, cache, *sets)) == 0, capsys.readouterr().err
    first = json.loads(path.read_text(encoding="utf-8"))
    assert len(first["sections"]) == 2 and len(first["scans"]) == 2
    # As a harness before this option has left it, and on another day.
    for part in first["sections"] + first["scans"]:
        del part["measured"]
    first["machine"].update(date="2001-02-03 04:05 UTC", commit="0ld")
    first["missing_sets"] = {"clustered-400-24": "was not there", "other": "is not there"}
    path.write_text(json.dumps(first), encoding="utf-8")
    monkeypatch.setenv("BENCH_COMMAND", "the second command")
    assert cli.main(again) == 0, capsys.readouterr().err
    second = json.loads(path.read_text(encoding="utf-8"))
    assert [section["key"] for section in second["sections"]] == [section["key"] for section in first["sections"]]
    assert [section["measured"]["commit"] for section in second["sections"]][0] == "0ld"
    assert second["sections"][0]["results"] == first["sections"][0]["results"]
    assert second["sections"][1]["measured"]["command"] == "the second command"
    assert second["sections"][1]["results"] != first["sections"][1]["results"]
    assert len(second["scans"]) == 2 and {s["measured"]["command"] for s in second["scans"]} == {"the second command"}
    assert second["missing_sets"] == {"other": "is not there"}
    text = page.read_text(encoding="utf-8")
    assert ("- Measured (exact search: clustered-300-24): `the first command`; commit 0ld, 2001-02-03 04:05 UTC; load"
            in text)
    assert "- Measured (one query at a time: clustered-300-24, clustered-400-24; exact search: clustered-400-24): " \
           "`the second command`" in text
    assert "Rounds: 1. Measured 2001-02-03 04:05 UTC, commit 0ld." in text and "- Command" not in text
    with open(tmp_path / "tiny" / "results.csv", encoding="utf-8", newline="") as file:
        assert {row["dataset"]: row["commit"] for row in csv.DictReader(file)}["clustered-300-24"] == "0ld"
    # Results of another machine or profile are not mixed with these, and what is not known is said.
    for change, want in (({"profile": "full"}, "profile is full, not quick"),
                         ({"machine": dict(second["machine"], cores=99)}, "cores is 99")):
        path.write_text(json.dumps(dict(second, **change)), encoding="utf-8")
        assert cli.main(again) == 1 and want in capsys.readouterr().err
    assert cli.main(tiny(tmp_path, cache, *sets, "--only", "exact:nothing")) == 1
    assert "this run has no set nothing" in capsys.readouterr().err


def test_only_named_sections_are_planned(tmp_path):
    run = cli.Run(cli.parse_arguments(["--profile", "medium", "--out", str(tmp_path), "--threads", "1",
                                       "--only", "scan,exact:wiki-movies-384"]))
    assert [(step.kind, step.name) for step in run.steps() if step.kind != "data"] == [
        ("scan", "clustered-1m-768"), ("scan", "clustered-1m-128"), ("scan", "patches-1m-128"),
        ("exact", "wiki-movies-384")]


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
        "clustered-1m-768", "clustered-1m-128", "patches-1m-128", "fashion-mnist-784", "wiki-movies-384",
        "sift-castle-128", "beir-bge-768"]
    assert len({step.title() for step in steps}) == len(steps) and all(run.guess(step) > 0 for step in steps)
    assert {step.kind for step in steps[:4]} == {"data"}
    # The largest set is for few, a package that does not install for nobody.
    assert run.names("exact", "clustered-1m-768") == ["vecdb-exact", "vecdb-flat", "faiss-flat"]
    assert "vecdb-exact-u8" in run.names("exact", "patches-1m-128")
    few, all_of_them = (run.names("ann", name) for name in ("patches-1m-128", "fashion-mnist-784"))
    assert "hnswlib-native" in few and set(few) < set(all_of_them) and few[-1] == "vecdb-exact"
    assert not {"scann", "scann-brute"} & {*few, *all_of_them, *run.names("exact", "patches-1m-128")}
    small = cli.Run(cli.parse_arguments(["--profile", "medium", "--out", str(tmp_path), "--rows", "2000"]))
    assert {step.name for step in small.steps()} == {"clustered-2000-768-1", "clustered-2000-128-1", "beir-bge-768",
                                                     "patches-2000-128-1", "fashion-mnist-784", "wiki-movies-384",
                                                     "sift-castle-128"}
    # Sets that only --only brings.
    assert not any(step.kind == "ann" and step.name == "clustered-1m-768" for step in steps)
    name = "clustered-1m-768"
    apart = cli.Run(cli.parse_arguments(["--profile", "medium", "--out", str(tmp_path), "--only", f"ann:{name}"]))
    assert [(step.kind, step.name) for step in apart.steps()] == [("data", name), ("ann", name)]
    assert apart.names("ann", name) == ["vecdb-qgraph", "hnswlib-native", "rabitq-symqg"]
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


def test_the_report_marks_what_is_unsteady_and_prints_each_points_note():
    ours, theirs = result([(10, 1.0, 300.0), (100, 1.0, 250.0)]), result([(10, 1.0, 200.0)])
    ours["note"] = "of the build"
    ours["points"][0].update(note="note of 10", spread=0.62)
    ours["points"][1].update(note="note of 100")
    theirs["points"][0].pop("spread")  # as older results are: 0.2, by min and max
    measured = results("exact", {"vecdb-exact": ours, "faiss-flat": theirs})
    text = report.markdown(measured, {})
    assert "| vecdb-exact | 10 | 10 | 300 | 270-330 ~ 62% | 1.50 | 1.0000 | yes | 40 | note of 10 |" in text
    assert "| vecdb-exact | 100 | 10 | 250 | 225-275 | - | 1.0000 | yes | 40 | note of 100 |" in text
    assert "180-220 ~ 20%" in text and "| 300 ~ (1.50x) | - | 200 ~ |" in text and "of the build" not in text
    assert "~ marks a point that stayed unsteady" in text
    measured["sections"][0]["kind"] = "ann"
    assert "| 20% ~ 1 of 2 points |" in report.markdown(measured, {})


def test_the_report_warns_of_load_and_says_what_the_elements_are():
    measured = results("exact", {"faiss-flat": dict(result([(10, 1.0, 200.0)]), huge_page_bytes=75,
                                                    anonymous_bytes=100)})
    measured["machine"].update(cores=2, load_at_start=0.4)
    text = report.markdown(measured, {})
    assert "Warning" not in text and "whole numbers" not in text and "Memory in huge pages: faiss-flat 75%." in text
    assert "while only numpy's arrays" in report.markdown(results("ann", {"hnswlib": result([(10, 0.9, 2.0)])}), {})
    measured["machine"]["load_at_start"] = 0.41
    measured["sections"][0]["dataset"]["whole_numbers"] = False
    text = report.markdown(measured, {})
    assert text.startswith("**Warning**: the load before the run") and "was 0.41 on 2 cores" in text
    assert "Data: here. The elements are no whole numbers" in text
    measured["sections"][0]["dataset"]["whole_numbers"] = True
    assert "Data: here. The elements are whole numbers" in report.markdown(measured, {})


def test_load_is_that_before_make_began(monkeypatch):
    monkeypatch.setenv("BENCH_LOAD", "1.75")
    assert machine.load_at_start() == 1.75
    for text in ("", "much"):
        monkeypatch.setenv("BENCH_LOAD", text)
        assert machine.load_at_start() == pytest.approx(os.getloadavg()[0], abs=1)


def test_docs_keep_what_is_not_theirs():
    assert docs.insert(f"a\n{docs.BEGIN}\nx\n{docs.END}\nb\n", "new") == f"a\n{docs.BEGIN}\n\nnew\n\n{docs.END}\nb\n"
    for text in ("no markers", f"{docs.END}{docs.BEGIN}", f"{docs.BEGIN}{docs.BEGIN}{docs.END}"):
        with pytest.raises(ValueError):
            docs.insert(text, "new")


@pytest.mark.parametrize("arguments", [["--adapters", "nobody"], ["--threads", "0"], ["--rows", "0"],
                                       ["--extra-rounds", "-1"],
                                       ["--threads", "100000"],
                                       ["--k", "0"], ["--rounds", "0"], ["--kinds", "x"],
                                       ["--only", "exact,nothing"]])
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.parse_arguments(arguments)
    assert stopped.value.code == 2 and arguments[0] in capsys.readouterr().err


def test_a_named_set_that_is_not_there(tmp_path, capsys):
    assert cli.main(["--datasets", "nowhere", "--out", str(tmp_path), "--data", str(tmp_path)]) == 1
    assert 'bench: nowhere: no folder' in capsys.readouterr().err


@pytest.mark.parametrize("there", [False, True])
def test_ci_goes_on_without_the_arm_compiler(tmp_path, there):
    for folder in (".ci", "tools", "bin"):
        (tmp_path / folder).mkdir()
    (tmp_path / ".ci" / "run").write_text((ROOT / ".ci" / "run").read_text(encoding="utf-8"), encoding="utf-8")
    scripts = {"tools/setup": "echo setup $*; exit 1", "bin/make": "echo make $*"}
    if there:
        scripts.update({"bin/aarch64-linux-gnu-gcc": "exit 0", "bin/qemu-aarch64": "exit 0"})
    for name, text in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    for name in ("uname", "grep", "head", "dirname"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    done = subprocess.run(["/bin/bash", str(tmp_path / ".ci" / "run")], capture_output=True, text=True,
                          env={"PATH": str(tmp_path / "bin")})
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "setup neon" in lines and lines[-1] == "make test"
    assert ("the ARM kernels are not tested" in done.stdout) != there


def test_every_entry_has_an_adapter_file_and_a_pinned_package():
    pinned = {line.split("==")[0] for line in (ROOT / "bench" / "requirements.txt").read_text().splitlines()
              if "==" in line}
    for name, entry in adapters.ENTRIES.items():
        assert (ROOT / "bench" / "ann" / "adapters" / f"{entry.module}.py").is_file(), name
        assert entry.package == "" or entry.package in pinned, name
    for profile in cli.PROFILES.values():
        assert set(profile.exact) | set(profile.exact_large) <= set(adapters.EXACT)
        assert all(set(names) <= set(adapters.APPROXIMATE) for _, names in (*profile.ann_sets, *profile.ann_apart))
