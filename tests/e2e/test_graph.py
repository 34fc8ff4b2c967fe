"""`vecdb hnsw` and `vecdb qgraph`, run as a user runs them: real files, answers and recall held against numpy.

VECDB_BIN_DIR  where the binaries are (default: build/release)
VECDB_DATA     a folder with fashion-mnist-784/: base.npy, queries.npy, gt_ids.npy; that test is skipped without it
"""

import json
import os
import pathlib
import signal
import subprocess
import xml.dom.minidom

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
VECDB = pathlib.Path(os.environ.get("VECDB_BIN_DIR", ROOT / "build" / "release")) / "vecdb"
KINDS = ["hnsw", "qgraph"]
COUNT, DIMENSION, QUERIES = 3000, 24, 60


def vecdb(*words, cwd=None):
    return subprocess.run([str(VECDB), *map(str, words)], capture_output=True, text=True, timeout=600, cwd=cwd)


def good(*words, cwd=None):
    run = vecdb(*words, cwd=cwd)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return run.stdout


def parsed(*words, cwd=None):
    return json.loads(good(*words, "--json", cwd=cwd))


def refused(run, *parts, code=2):
    """One line on stderr that holds every part, nothing on stdout."""
    assert run.returncode == code, (run.returncode, run.stdout, run.stderr)
    assert run.stdout == ""
    assert run.stderr.startswith("vecdb") and run.stderr.count("\n") == 1 and run.stderr.endswith("\n")
    for part in parts:
        assert part in run.stderr


def make(kind, count, seed, dimension=DIMENSION):
    """Clusters, as real data has them."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((20, dimension)) * 2
    values = centres[rng.integers(0, 20, count)] + rng.standard_normal((count, dimension))
    if kind == "u8":
        return np.clip(values * 16 + 128, 0, 255).astype(np.uint8)
    if kind == "i8":
        return np.clip(values * 12, -127, 127).astype(np.int8)
    return values.astype(np.float16 if kind == "f16" else np.float32)


def nearest(metric, base, queries, k):
    """Distances to all, and the ids of the k nearest, in float64."""
    b, q = base.astype(np.float64), queries.astype(np.float64)
    if metric == "cosine":
        d = 1 - (q @ b.T) / np.linalg.norm(b, axis=1) / np.linalg.norm(q, axis=1)[:, None]
    elif metric == "dot":
        d = -(q @ b.T)
    else:
        d = np.sqrt(np.maximum((q**2).sum(1)[:, None] + (b**2).sum(1) - 2 * (q @ b.T), 0))
    return d, np.argsort(d, axis=1, kind="stable")[:, :k]


@pytest.fixture
def files(tmp_path):
    """A dataset of u8, queries, and an index of each kind."""
    np.save(tmp_path / "base.npy", make("u8", COUNT, 1))
    np.save(tmp_path / "queries.npy", make("u8", QUERIES, 2))
    for kind in KINDS:
        good(kind, "build", "--dataset", tmp_path / "base.npy", "--out", tmp_path / f"{kind}.idx")
    return tmp_path


# ---- build -------------------------------------------------------------------------------------------------


def test_build_hnsw_says_what_it_built(files):
    out = files / "again.idx"
    built = parsed("hnsw", "build", "--dataset", files / "base.npy", "--M", 8, "--efConstruction", 100, "--out", out)
    assert built["kind"] == "hnsw" and built["m"] == 8 and built["ef_construction"] == 100
    assert built["dataset"]["count"] == COUNT and built["dataset"]["dimension"] == DIMENSION
    assert built["dataset"]["element"] == "u8" and built["metric"] == "l2"
    assert built["index"]["bytes"] == out.stat().st_size
    layers = built["layers"]
    assert [layer["layer"] for layer in layers] == list(range(len(layers)))
    assert built["top_layer"] == len(layers) - 1 >= 1
    assert layers[0]["nodes"] == built["nodes"] and built["nodes"] + built["duplicates"] == COUNT
    assert all(a["nodes"] > b["nodes"] > 0 for a, b in zip(layers, layers[1:]))
    assert all(layer["links"] <= layer["nodes"] * (16 if layer["layer"] == 0 else 8) for layer in layers)
    assert built["average_connections"] == pytest.approx(layers[0]["links"] / layers[0]["nodes"])
    assert built["vector_bytes"] == COUNT * DIMENSION and built["graph_bytes"] > layers[0]["links"] * 4
    assert 2 <= built["diameter"] < 100 and built["build_ms"] > 0
    text = good("hnsw", "build", "--dataset", files / "base.npy", "--M", 8, "--out", out)
    for word in ("layer", "Build time", "graph", "vectors", "Average connections", "Top layer", "Diameter"):
        assert word in text
    assert not any(line.endswith(" ") for line in text.splitlines())


def test_build_qgraph_says_what_it_built(files):
    built = parsed("qgraph", "build", "--dataset", files / "base.npy", "--out", files / "again.idx")
    assert built["kind"] == "qgraph" and built["degree"] == 32 and built["nodes"] + built["duplicates"] == COUNT
    assert built["layers"] == [] and built["top_layer"] is None and built["graph_bytes"] > 0
    # Vectors of u8 are in the graph, once.
    assert built["vector_bytes"] == built["nodes"] * DIMENSION
    assert "Build time" in good("qgraph", "build", "--dataset", files / "base.npy", "--out", files / "again.idx")


@pytest.mark.parametrize("element", ["u8", "f32"])
def test_compact(tmp_path, element):
    """No codes: fewer bytes, the same answers."""
    np.save(tmp_path / "base.npy", make(element, COUNT, 1, 128))
    np.save(tmp_path / "queries.npy", make(element, QUERIES, 2, 128))
    words = ("qgraph", "build", "--dataset", tmp_path / "base.npy")
    full = parsed(*words, "--out", tmp_path / "full.idx")
    compact = parsed(*words, "--compact", "--out", tmp_path / "compact.idx")
    assert compact["degree"] == 28 and compact["code_bits"] == 0 and full["code_bits"] > 0
    sizes = [built["graph_bytes"] + (built["vector_bytes"] if element == "u8" else 0) for built in (compact, full)]
    assert sizes[0] < 0.35 * COUNT * (128 * 4 + 32 * 4 + 4 + 16) < sizes[1]
    words = ("qgraph", "search", "--index", tmp_path / "compact.idx", "--query", tmp_path / "queries.npy", "--ef", 64)
    found = parsed(*words)["performance"]
    assert found["recall"] >= 0.98 and found["estimates"] == 0 and 64 < found["distances"] < COUNT
    refused(vecdb("hnsw", "build", "--compact", "--dataset", tmp_path / "base.npy", "--out", tmp_path / "x"), "--compact")


def test_a_stopped_build_leaves_nothing(tmp_path):
    """Stopped while the index is written: no OUT.tmp stays, and what was there before does. Not by SIGINT, which a
    program that was started in the background of a script ignores."""
    np.save(tmp_path / "base.npy", make("f32", 4000, 1, 2048))
    np.save(tmp_path / "few.npy", make("f32", 10, 1, 8))
    out, unfinished = tmp_path / "x.idx", tmp_path / "x.idx.tmp"
    good("hnsw", "build", "--dataset", tmp_path / "few.npy", "--out", out)
    before = out.read_bytes()
    words = ["hnsw", "build", "--M", 4, "--efConstruction", 4, "--inside", "same", "--dataset", tmp_path / "base.npy"]
    for _ in range(20):
        process = subprocess.Popen([str(VECDB), *map(str, words), "--out", str(out)], stdout=subprocess.DEVNULL)
        while process.poll() is None:
            try:
                unfinished.stat()  # it is there
                process.send_signal(signal.SIGTERM)
                break
            except FileNotFoundError:
                pass
        process.wait(600)
        assert list(tmp_path.glob("*.tmp")) == []
        if process.returncode == -signal.SIGTERM:
            assert out.read_bytes() == before
            return
        out.write_bytes(before)  # it was done first: again
    pytest.skip("every build was done before its signal came")


def test_one_thread_and_seed_build_one_file(files):
    words = ("hnsw", "build", "--dataset", files / "base.npy", "--threads", 1, "--seed", 7)
    good(*words, "--out", files / "a.idx")
    good(*words, "--out", files / "b.idx")
    assert (files / "a.idx").read_bytes() == (files / "b.idx").read_bytes()
    assert list(files.glob("*.tmp")) == []


# ---- search ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", ["l2", "cosine", "dot"])
@pytest.mark.parametrize("element", ["u8", "i8", "f16", "f32"])
def test_search_finds_the_nearest(tmp_path, kind, metric, element):
    base, queries = make(element, COUNT, 1), make(element, QUERIES, 2)
    np.save(tmp_path / "base.npy", base)
    np.save(tmp_path / "queries.npy", queries)
    good(kind, "build", "--dataset", "base.npy", "--metric", metric, "--out", "x.idx", cwd=tmp_path)
    answer = parsed(
        kind, "search", "--index", "x.idx", "--query", "queries.npy", "--k", 10, "--ef", 200, cwd=tmp_path
    )
    distances, ids = nearest(metric, base, queries, 10)
    right = 0
    for row, entry in enumerate(answer["queries"]):
        found = [result["id"] for result in entry["results"]]
        assert len(set(found)) == 10
        own = np.array([result["distance"] for result in entry["results"]]) * (-1 if metric == "dot" else 1)
        assert np.allclose(own, distances[row, found], rtol=1e-4, atol=1e-4)
        hits = int((distances[row, found] <= distances[row, ids[row, -1]] + 1e-9).sum())
        assert entry["recall"] == pytest.approx(hits / 10, abs=0.11)
        right += hits
    assert answer["performance"]["recall"] == pytest.approx(right / QUERIES / 10, abs=0.005)
    assert answer["performance"]["recall"] >= 0.95
    assert 0 < answer["performance"]["distances"] < COUNT


@pytest.mark.parametrize("kind", KINDS)
def test_search_of_one_row(files, kind):
    words = (kind, "search", "--index", files / f"{kind}.idx", "--query", files / "queries.npy", "--row", 5)
    answer = parsed(*words, "--k", 7, "--ef", 40)
    assert len(answer["queries"]) == 1 and answer["k"] == 7 and answer["ef"] == 40
    entry = answer["queries"][0]
    assert entry["row"] == 5 and len(entry["results"]) == 7
    whole = parsed(kind, "search", "--index", files / f"{kind}.idx", "--query", files / "queries.npy", "--k", 7)
    assert whole["queries"][5]["row"] == 5 and "path" not in whole["queries"][5]
    text = good(*words)
    for word in ("Query row 5", "Candidates expanded", "Nodes visited", "Distance calculations", "Recall@10"):
        assert word in text
    assert f"of {COUNT:,} by brute force" in text
    assert "not measured" in good(*words, "--no-recall")
    assert parsed(*words, "--no-recall")["performance"]["recall"] is None


def test_the_path_of_hnsw(files):
    built = parsed("hnsw", "build", "--dataset", files / "base.npy", "--out", files / "hnsw.idx")
    answer = parsed("hnsw", "search", "--index", files / "hnsw.idx", "--query", files / "queries.npy", "--row", 0)
    entry = answer["queries"][0]
    path = entry["path"]
    layers = [step["layer"] for step in path]
    assert layers == sorted(layers, reverse=True) and layers[0] == built["top_layer"] and layers[-1] == 0
    for before, after in zip(path, path[1:]):
        if before["layer"] == after["layer"] > 0:  # above layer 0 each hop leads nearer
            assert after["distance"] < before["distance"]
    base = np.load(files / "base.npy").astype(float)
    query = np.load(files / "queries.npy")[0].astype(float)
    for step in path:
        assert step["distance"] == pytest.approx(np.linalg.norm(base[step["node"]] - query), rel=1e-5)
    assert len(entry["hops"]) == built["top_layer"] + 1
    assert entry["hops"][0] == layers.count(0) == len([s for s in path if s["layer"] == 0])
    assert entry["expanded"] <= entry["visited"] <= entry["distances"] < COUNT
    assert "Path" in good("hnsw", "search", "--index", files / "hnsw.idx", "--query", files / "queries.npy", "--row", 0)


def test_bits(tmp_path):
    rng = np.random.default_rng(3)
    np.save(tmp_path / "base.npy", rng.integers(0, 256, (500, 8), dtype=np.uint8))
    np.save(tmp_path / "queries.npy", rng.integers(0, 256, (5, 8), dtype=np.uint8))
    good("hnsw", "build", "--dataset", tmp_path / "base.npy", "--metric", "hamming", "--out", tmp_path / "x.idx")
    words = ("search", "--index", tmp_path / "x.idx", "--query", tmp_path / "queries.npy")
    answer = parsed("hnsw", *words, "--ef", 400)
    assert answer["metric"] == "hamming" and answer["dataset"]["dimension"] == 64
    assert answer["performance"]["recall"] >= 0.95
    refused(
        vecdb("qgraph", "build", "--dataset", tmp_path / "base.npy", "--metric", "hamming", "--out", tmp_path / "q"),
        '--metric is "hamming"',
        "l2, cosine, dot",
    )


def test_fewer_vectors_than_k(tmp_path):
    np.save(tmp_path / "base.npy", make("u8", 3, 1))
    for kind in KINDS:
        good(kind, "build", "--dataset", tmp_path / "base.npy", "--out", tmp_path / "x.idx")
        answer = parsed(kind, "search", "--index", tmp_path / "x.idx", "--query", tmp_path / "base.npy", "--k", 10)
        assert [len(entry["results"]) for entry in answer["queries"]] == [3, 3, 3]
        assert [entry["results"][0]["id"] for entry in answer["queries"]] == [0, 1, 2]
        assert answer["performance"]["recall"] == 1


# ---- sweep -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_sweep(files, kind):
    words = (kind, "sweep", "--index", files / f"{kind}.idx", "--queries", files / "queries.npy")
    _, ids = nearest("l2", np.load(files / "base.npy"), np.load(files / "queries.npy"), 20)
    np.save(files / "gt.npy", ids.astype(np.int32))
    sweep = parsed(*words, "--ef", "5,10,20,100,400")
    points = sweep["points"]
    assert [point["ef"] for point in points] == [10, 20, 100, 400]  # 5 counts as 10, which comes once
    assert points[-1]["recall"] >= 0.98 and points[0]["recall"] <= points[-1]["recall"]
    assert all(a["visited"] < b["visited"] and a["expanded"] < b["expanded"] for a, b in zip(points, points[1:]))
    given = parsed(*words, "--ef", "5,10,20,100,400", "--ground-truth", files / "gt.npy")
    assert [p["recall"] for p in given["points"]] == [p["recall"] for p in points]
    # Only qgraph does more with a batch than with its queries one by one.
    assert all(("batch_recall" in point) == (kind == "qgraph") for point in points)
    if kind == "qgraph":
        assert points[-1]["batch_recall"] >= 0.98 and points[0]["batch_recall"] <= points[-1]["batch_recall"]
        assert [p["batch_recall"] for p in given["points"]] == [p["batch_recall"] for p in points]
        assert all(point["batch_queries_per_second"] > 0 for point in points)
    text = good(*words, "--plot", files / "s.svg", "--k", 1, "--ef", "1,10")
    assert "recall@1" in text and "nodes visited" in text
    assert ("batch queries/s" in text) == (kind == "qgraph")
    assert xml.dom.minidom.parse(str(files / "s.svg")).documentElement.tagName == "svg"
    assert "recall@1" in (files / "s.svg").read_text()


# ---- bad input ---------------------------------------------------------------------------------------------


def test_bad_numbers(files):
    build = ("build", "--dataset", files / "base.npy", "--out", files / "new.idx")
    refused(vecdb("hnsw", *build, "--M", 0), "--M is 0", "4 to 256")
    refused(vecdb("hnsw", *build, "--M", 257), "--M is 257", "4 to 256")
    refused(vecdb("hnsw", *build, "--efConstruction", 0), "--efConstruction is 0")
    refused(vecdb("hnsw", *build, "--M", 64, "--efConstruction", 10), "ef_construction", "10", "64")
    refused(vecdb("qgraph", *build, "--efConstruction", 1), "ef_construction", "16")
    refused(vecdb("qgraph", *build, "--code-bits", 65), "code_bits", "64")
    refused(vecdb("qgraph", *build, "--M", 16), "unknown option --M")
    assert not (files / "new.idx").exists()
    search = ("search", "--index", files / "hnsw.idx", "--query", files / "queries.npy")
    refused(vecdb("hnsw", *search, "--ef", 0), "--ef is 0")
    refused(vecdb("hnsw", *search, "--k", 0), "--k is 0")
    refused(vecdb("hnsw", *search, "--row", QUERIES), f"--row is {QUERIES}", f"0 to {QUERIES - 1}")
    sweep = ("sweep", "--index", files / "hnsw.idx", "--queries", files / "queries.npy")
    refused(vecdb("hnsw", *sweep, "--ef", "20,10"), '--ef is "20,10"', "ascending")
    refused(vecdb("hnsw", *sweep, "--plot", files / "base.npy"), "--plot", ".svg")
    # Where no drawing can be written is said before anything is read, not after the sweep.
    (files / "folder.svg").mkdir()
    nothing = ("sweep", "--index", files / "none.idx", "--queries", files / "none.npy")
    for kind in KINDS:
        refused(vecdb(kind, *nothing, "--plot", files / "no" / "s.svg"), "--plot", "no/s.svg")
        refused(vecdb(kind, *nothing, "--plot", files / "folder.svg"), "--plot", "not a file")
    refused(
        vecdb("hnsw", "build", "--dataset", files / "base.npy", "--out", files / "new.idx", "--inside", "f16"),
        "inside_as: f16", "u8",
    )
    assert not (files / "s.svg.tmp").exists()


def test_bad_words(files):
    refused(vecdb("hnsw"), "a verb is missing")
    refused(vecdb("hnsw", "biuld"), 'did you mean "build"')
    refused(vecdb("hnsw", "build", "--dataset", files / "base.npy"), "--out is missing")
    refused(vecdb("hnsw", "search", "--query", "q.npy"), "--index is missing")
    for kind in KINDS:
        assert "Verbs:" in good(kind, "--help") and "sweep" in good("help", kind)
        for verb in ("build", "search", "sweep"):
            assert f"vecdb {kind} {verb}" in good(kind, verb, "--help")


def test_missing_and_wrong_files(files):
    build = ("hnsw", "build", "--out", files / "new.idx", "--dataset")
    refused(vecdb(*build, files / "none.npy"), "--dataset", "none.npy")
    np.save(files / "ids.npy", np.zeros((4, 4), np.int32))
    refused(vecdb(*build, files / "ids.npy"), "--dataset", "i32")
    np.save(files / "empty.npy", np.zeros((0, 4), np.uint8))
    refused(vecdb(*build, files / "empty.npy"), "0 vectors")
    np.save(files / "nan.npy", np.full((4, 4), np.nan, np.float32))
    refused(vecdb(*build, files / "nan.npy"), "--dataset", "row 0")
    np.save(files / "zero.npy", np.zeros((4, 4), np.float32))
    refused(vecdb(*build, files / "zero.npy", "--metric", "cosine"), "--dataset", "row 0")
    before = (files / "base.npy").read_bytes()
    refused(
        vecdb("hnsw", "build", "--dataset", files / "base.npy", "--out", files / "base.npy"), "--out", "not written over"
    )
    assert (files / "base.npy").read_bytes() == before
    refused(
        vecdb("hnsw", "build", "--dataset", files / "base.npy", "--out", files / "no" / "x.idx"), "--out", "no/x.idx"
    )
    search = ("hnsw", "search", "--query", files / "queries.npy", "--index")
    refused(vecdb(*search, files / "none.idx"), "--index", "none.idx")
    refused(vecdb(*search, files / "base.npy"), "--index", "no index file")
    refused(vecdb(*search, files), "--index", code=vecdb(*search, files).returncode)
    refused(vecdb(*search, files / "qgraph.idx"), '"qgraph"', "vecdb qgraph")


def test_queries_that_do_not_fit(files):
    search = ("hnsw", "search", "--index", files / "hnsw.idx", "--query")
    np.save(files / "wide.npy", make("u8", 3, 1, DIMENSION + 1))
    refused(vecdb(*search, files / "wide.npy"), "--query", f"dimension is {DIMENSION + 1}", str(DIMENSION))
    np.save(files / "f32.npy", make("f32", 3, 1))
    refused(vecdb(*search, files / "f32.npy"), "--query", "f32", "u8")
    refused(vecdb(*search, files / "none.npy"), "--query", "none.npy")
    # An index of f32 takes all numbers.
    np.save(files / "base32.npy", make("f32", COUNT, 1))
    good("hnsw", "build", "--dataset", files / "base32.npy", "--out", files / "f.idx")
    np.save(files / "i8.npy", make("i8", 3, 1))
    assert len(parsed("hnsw", "search", "--index", files / "f.idx", "--query", files / "i8.npy")["queries"]) == 3


def test_ground_truth_that_does_not_fit(files):
    sweep = ("hnsw", "sweep", "--index", files / "hnsw.idx", "--queries", files / "queries.npy", "--ground-truth")
    for shape in ((QUERIES - 1, 10), (QUERIES, 9)):
        np.save(files / "gt.npy", np.zeros(shape, np.int32))
        refused(vecdb(*sweep, files / "gt.npy"), "--ground-truth", str(shape[0]), str(shape[1]))
    for wrong in (-1, COUNT):
        ids = np.zeros((QUERIES, 10), np.int32)
        ids[3, 4] = wrong
        np.save(files / "gt.npy", ids)
        refused(vecdb(*sweep, files / "gt.npy"), "--ground-truth", "row 3", str(wrong))
    refused(vecdb(*sweep, files / "queries.npy"), "--ground-truth", "u8")


@pytest.mark.parametrize("kind", KINDS)
def test_another_dataset(files, kind):
    words = (kind, "search", "--index", files / f"{kind}.idx", "--query", files / "queries.npy")
    base = np.load(files / "base.npy")
    np.save(files / "other.npy", base[:-1])
    refused(vecdb(*words, "--dataset", files / "other.npy"), "--dataset", f"{COUNT - 1} vectors")
    np.save(files / "other.npy", base[:, :-1])
    refused(vecdb(*words, "--dataset", files / "other.npy"), "--dataset", f"dimension {DIMENSION - 1}")
    np.save(files / "other.npy", base.astype(np.float32))
    refused(vecdb(*words, "--dataset", files / "other.npy"), "--dataset", "f32")
    changed = base.copy()
    changed[COUNT // 2, 0] ^= 1
    np.save(files / "other.npy", changed)
    refused(vecdb(*words, "--dataset", files / "other.npy"), "--dataset", "checksum")
    # Changed in place, moved away, and told where it is.
    (files / "other.npy").rename(files / "base.npy")
    refused(vecdb(*words), "--index: its dataset", "checksum")
    np.save(files / "moved.npy", base)
    (files / "base.npy").unlink()
    refused(vecdb(*words), "--dataset must say where it is now", "base.npy")
    assert parsed(*words, "--dataset", files / "moved.npy")["performance"]["recall"] > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_index(files, kind):
    path = files / f"{kind}.idx"
    whole = path.read_bytes()
    words = (kind, "search", "--index", path, "--query", files / "queries.npy")
    rng = np.random.default_rng(5)
    for at in [12, 20, 30, 60, 70, len(whole) - 1, *rng.integers(100, len(whole), 10)]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(damaged)
        refused(vecdb(*words), "--index", "damaged", code=1)
    for size in (0, 7, 8, 50, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        run = vecdb(*words)
        refused(run, "--index", code=run.returncode)
        assert run.returncode in (1, 2)
    path.write_bytes(whole + b"\0")
    refused(vecdb(*words), "--index", "longer")
    path.write_bytes(whole[:8] + b"\2\0\0\0" + whole[12:])
    refused(vecdb(*words), "--index", "version is 2")


# ---- real data ---------------------------------------------------------------------------------------------


@pytest.mark.skipif("VECDB_DATA" not in os.environ, reason="VECDB_DATA is not set")
@pytest.mark.parametrize("kind,ef", [("hnsw", 20), ("qgraph", 30)])
def test_real_data(tmp_path, kind, ef):
    data = pathlib.Path(os.environ["VECDB_DATA"]) / "fashion-mnist-784"
    good(kind, "build", "--dataset", data / "base.npy", "--out", tmp_path / "x.idx")
    words = (kind, "sweep", "--index", tmp_path / "x.idx", "--queries", data / "queries.npy")
    sweep = parsed(*words, "--ground-truth", data / "gt_ids.npy", "--ef", f"{ef},200")
    assert sweep["points"][0]["recall"] >= 0.95 and sweep["points"][1]["recall"] >= 0.99
