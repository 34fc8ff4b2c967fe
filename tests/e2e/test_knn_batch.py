"""`vecdb knn` in batch: --queries, --range, --threads, --memory-limit, --out, HDF5 files; exact answers by numpy.

VECDB_BIN_DIR  where the binaries are (default: build/release)
VECDB_DATA     a folder with the data sets of REAL below; the tests on real data are skipped without it
"""

import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import h5py
import numpy as np
import pytest

from test_knn import VECDB, check_answers, make, order, refused, scores, vecdb

# name, metric, prefix of the ground truth
REAL = [
    ("fashion-mnist-784", "l2", "gt"),
    ("sift-castle-128", "l2", "gt"),
    ("beir-bge-768", "cosine", "gt"),
    ("wiki-movies-384", "cosine", "gt"),
    ("scifact-hybrid-256", "cosine", "gt"),
    ("movielens-16", "dot", "gt"),
    ("movielens-16", "l2", "l2_gt"),
    ("chem-hiv-1024b", "hamming", "gt_hamming"),
    ("chem-hiv-1024b", "jaccard", "gt_jaccard"),
    ("cohere-int8-900", "cosine", "gt"),
    ("deep-1800", "cosine", "gt"),
    ("ngt-sift-4500", "l2", "gt"),
]


def batch(dataset, *words, env=None):
    run = vecdb("knn", "--dataset", dataset, "--json", *words, env=env)
    assert run.returncode == 0 and run.stderr == "", run.stderr
    return json.loads(run.stdout)


def levels():
    best = json.loads(vecdb("cpu", "--json", env={"VECDB_CPU": ""}).stdout)["processor_best"]
    known = ["scalar", "avx2", "avx512"]
    return known[: known.index(best) + 1]


@pytest.fixture
def files(tmp_path):
    base, queries = make("u8", 900, 20, 1), make("u8", 13, 20, 2)
    np.save(tmp_path / "base.npy", base)
    np.save(tmp_path / "queries.npy", queries)
    return tmp_path, base, queries


def ids_of(answer):
    return [[r["id"] for r in q["results"]] for q in answer["queries"]]


# ---- answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["l2", "cosine", "dot", "l1"])
@pytest.mark.parametrize("kind", ["u8", "i8", "f16", "f32"])
def test_a_batch_is_exact(tmp_path, metric, kind):
    base, queries = make(kind, 1500, 37, 3), make(kind, 50, 37, 4)
    np.save(tmp_path / "base.npy", base)
    np.save(tmp_path / "queries.npy", queries)
    answer = batch(tmp_path / "base.npy", "--queries", tmp_path / "queries.npy", "--metric", metric, "--k", 10)
    tolerance = 0 if kind in ("u8", "i8") and metric != "cosine" else 1e-9
    check_answers(answer, metric, base, queries, 10, tolerance)


@pytest.mark.parametrize("metric,radius", [("l2", 350.5), ("l1", 1200), ("dot", 250000), ("cosine", 0.2)])
def test_range(files, metric, radius):
    folder, base, queries = files
    answer = batch(
        folder / "base.npy", "--queries", folder / "queries.npy", "--metric", metric, "--range", radius
    )
    found = 0
    for entry, query in zip(answer["queries"], queries):
        values = scores(metric, base, query)
        inside = values >= radius if metric == "dot" else values <= radius
        wanted = [i for i in order(metric, values) if inside[i]]
        assert [r["id"] for r in entry["results"]] == wanted and entry["count"] == len(wanted)
        found += len(wanted)
    assert 0 < found < 13 * 900
    run = vecdb(
        "knn", "--dataset", folder / "base.npy", "--queries", folder / "queries.npy", "--metric", metric,
        "--range", radius,
    )  # fmt: skip
    assert run.returncode == 0 and f"Query row 0: {answer['queries'][0]['count']:,} found" in run.stdout


@pytest.mark.parametrize("metric", ["l2", "cosine", "dot", "l1"])
def test_range_takes_in_its_own_edge(tmp_path, metric):
    """Every distance that is printed, given back as --range, finds its row."""
    rng = np.random.default_rng(16)
    base, query = rng.integers(-3, 4, (60, 3), dtype=np.int8), np.ones((1, 3), np.int8)
    base[(base == 0).all(axis=1)] = 1
    np.save(tmp_path / "base.npy", base)
    np.save(tmp_path / "query.npy", query)
    words = ["--queries", tmp_path / "query.npy", "--metric", metric, "--no-naive"]
    results = batch(tmp_path / "base.npy", *words, "--k", 60)["queries"][0]["results"]
    distances = sorted({r["distance"] for r in results})
    assert len(distances) > 10 and (metric != "l2" or 1.7320508075688772 in distances)
    for edge in distances:
        inside = [r["id"] for r in results if (r["distance"] >= edge if metric == "dot" else r["distance"] <= edge)]
        answer = batch(tmp_path / "base.npy", *words, f"--range={edge!r}")
        assert ids_of(answer) == [inside], edge


def test_threads_and_blocks_change_nothing(files):
    folder, base, queries = files
    words = ["--queries", folder / "queries.npy", "--k", 30]
    wanted = ids_of(batch(folder / "base.npy", *words))
    for threads in (1, 2, 5):
        answer = batch(folder / "base.npy", *words, "--threads", threads)
        assert ids_of(answer) == wanted and answer["performance"]["threads"] == threads
    words[0] = "--query"  # each search by so many threads
    for threads in (1, 2, 5):
        answer = batch(folder / "base.npy", *words, "--threads", threads)
        assert ids_of(answer) == wanted and answer["performance"]["threads"] == threads
    assert batch(folder / "base.npy", *words)["performance"]["threads"] == 1
    limit = smallest_limit(folder / "base.npy", *words)
    for more in (0, 20000, 10**9):
        answer = batch(folder / "base.npy", *words, "--memory-limit", limit + more)
        assert ids_of(answer) == wanted
        assert answer["performance"]["naive"] is None


def smallest_limit(dataset, *words):
    run = vecdb("knn", "--dataset", dataset, *words, "--memory-limit", 1)
    refused(run, "--memory-limit is 1 bytes; the smallest that works for these queries is ")
    return int(run.stderr.split()[-1])


@pytest.mark.parametrize("dimension", [64, 61])
@pytest.mark.parametrize("metric", ["hamming", "jaccard"])
def test_bits(tmp_path, metric, dimension):
    rng = np.random.default_rng(5)
    base, queries = rng.random((400, dimension)) < 0.3, rng.random((9, dimension)) < 0.3
    base[7] = queries[0] = False
    np.save(tmp_path / "base.npy", np.packbits(base, axis=1))
    np.save(tmp_path / "queries.npy", np.packbits(queries, axis=1))
    with h5py.File(tmp_path / "bits.hdf5", "w") as file:
        file["train"], file["test"] = base, queries
        file.attrs["distance"] = metric
    words = ["--metric", metric, "--queries", tmp_path / "queries.npy", "--bits", dimension, "--k", 20]
    one = ["--metric", metric, "--query", tmp_path / "queries.npy", "--bits", dimension, "--k", 20]
    for answer in (batch(tmp_path / "base.npy", *words), batch(tmp_path / "base.npy", *one),
                   batch(tmp_path / "bits.hdf5", "--k", 20)):  # fmt: skip
        assert answer["metric"] == metric and answer["computed_in"] == "bit"
        assert answer["dataset"]["dimension"] == dimension
        for entry, query in zip(answer["queries"], queries):
            both, either = (base & query).sum(1), (base | query).sum(1)
            values = (base ^ query).sum(1) if metric == "hamming" else 1 - both / np.maximum(either, 1)
            if metric == "jaccard":
                values[either == 0] = 0
            best = np.lexsort((np.arange(400), values))[:20]
            assert [r["id"] for r in entry["results"]] == best.tolist()
            assert [r["distance"] for r in entry["results"]] == pytest.approx(values[best].tolist(), abs=1e-12)


def test_hdf5_input(tmp_path):
    base, queries = make("f32", 300, 12, 6), make("f32", 7, 12, 7)
    for dtype in (np.float32, np.float64, np.float16):
        with h5py.File(tmp_path / "set.hdf5", "w") as file:
            file.create_dataset("train", data=base.astype(dtype), chunks=(50, 12), compression="gzip")
            file["test"] = queries.astype(dtype)
            file["other"] = queries[:3]
            file.attrs["distance"] = "angular"
        wanted = base.astype(dtype).astype(np.float32), queries.astype(dtype).astype(np.float32)
        answer = batch(tmp_path / "set.hdf5")
        assert answer["metric"] == "cosine"
        name = f"f{np.dtype(dtype).itemsize * 8}"
        assert (answer["dataset"]["type"], answer["query"]["type"]) == (name, name)
        assert answer["computed_in"] == "f32"
        report = vecdb("knn", "--dataset", tmp_path / "set.hdf5").stdout
        assert report.count(f", {name} (computed in f32)\n") == (2 if name != "f32" else 0)
        check_answers(answer, "cosine", *wanted, 10, 1e-9)
        answer = batch(tmp_path / "set.hdf5:train", "--queries", f"{tmp_path}/set.hdf5:other", "--metric", "l2")
        check_answers(answer, "l2", wanted[0], queries[:3], 10, 1e-6)
        limit = smallest_limit(tmp_path / "set.hdf5")
        check_answers(batch(tmp_path / "set.hdf5", "--memory-limit", limit), "cosine", *wanted, 10, 1e-9)


def test_out_npy(files):
    folder, base, queries = files
    words = ["--queries", folder / "queries.npy", "--k", 15]
    wanted = batch(folder / "base.npy", *words)
    answer = batch(folder / "base.npy", *words, "--out", folder / "gt.npy")
    assert answer["queries"] == [] and answer["out"] == str(folder / "gt.npy")
    ids, distances = np.load(folder / "gt.npy"), np.load(folder / "gt_dist.npy")
    assert ids.dtype == np.int32 and distances.dtype == np.float64
    assert ids.tolist() == ids_of(wanted)
    assert distances.tolist() == [[r["distance"] for r in q["results"]] for q in wanted["queries"]]
    assert not list(folder.glob("*.tmp"))
    run = vecdb("knn", "--dataset", folder / "base.npy", *words, "--out", folder / "gt.npy")
    assert run.returncode == 0 and "gt_dist.npy" in run.stdout and "rank" not in run.stdout


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("metric", ["l2", "cosine", "dot"])
def test_out_hdf5_round_trip(tmp_path, metric, limited):
    base, queries = make("f32", 700, 9, 8), make("f32", 6, 9, 9)
    np.save(tmp_path / "base.npy", base)
    np.save(tmp_path / "queries.npy", queries)
    words = ["--queries", tmp_path / "queries.npy", "--metric", metric, "--k", 5]
    wanted = ids_of(batch(tmp_path / "base.npy", *words))
    limit = ["--memory-limit", smallest_limit(tmp_path / "base.npy", *words) + 2000] if limited else []
    batch(tmp_path / "base.npy", *words, *limit, "--out", tmp_path / "gt.hdf5")
    with h5py.File(tmp_path / "gt.hdf5") as file:
        assert file.attrs["distance"] == {"l2": "euclidean", "cosine": "angular", "dot": "ip"}[metric]
        assert (file["train"][:] == base).all() and (file["test"][:] == queries).all()
        assert file["neighbors"][:].tolist() == wanted
        assert (np.diff(file["distances"][:], axis=1) >= 0).all()
        rows, ids = queries.astype(np.float64)[:, None], base.astype(np.float64)[file["neighbors"][:]]
        products = (rows * ids).sum(axis=2)
        bench = {
            "l2": np.linalg.norm(rows - ids, axis=2),
            "cosine": 1 - products / np.linalg.norm(rows, axis=2) / np.linalg.norm(ids, axis=2),
            "dot": -products,
        }[metric]
        assert file["distances"][:] == pytest.approx(bench, rel=1e-6, abs=1e-6)
        assert file["neighbors"].dtype == np.int32 and file["distances"].dtype == np.float32
        assert (file.attrs["type"], file.attrs["dimension"], file.attrs["point_type"]) == ("dense", 9, "float")
    assert ids_of(batch(tmp_path / "gt.hdf5", "--k", 5)) == wanted


@pytest.mark.parametrize("metric", ["hamming", "jaccard"])
def test_out_hdf5_of_bits(tmp_path, metric):
    """ann-benchmarks' hamming distance is the share of the bits that differ."""
    base, queries = np.random.default_rng(15).integers(0, 2, (2, 200, 61)).astype(bool)
    with h5py.File(tmp_path / "in.hdf5", "w") as file:
        file["train"], file["test"], file.attrs["distance"] = base, queries[:7], metric
    wanted = batch(tmp_path / "in.hdf5", "--k", 5)
    batch(tmp_path / "in.hdf5", "--k", 5, "--out", tmp_path / "gt.hdf5")
    with h5py.File(tmp_path / "gt.hdf5") as file:
        assert (file["train"][:] == base).all() and file["train"].dtype == bool
        assert (file.attrs["distance"], file.attrs["dimension"], file.attrs["point_type"]) == (metric, 61, "bit")
        pairs = queries[:7][:, None], base[file["neighbors"][:]]
        differing = (pairs[0] ^ pairs[1]).mean(axis=2)
        shared = 1 - (pairs[0] & pairs[1]).sum(axis=2) / (pairs[0] | pairs[1]).sum(axis=2)
        assert file["distances"][:] == pytest.approx(differing if metric == "hamming" else shared, abs=1e-6)
        assert file["neighbors"][:].tolist() == ids_of(wanted)
    assert ids_of(batch(tmp_path / "gt.hdf5", "--k", 5)) == ids_of(wanted)


def peak_bytes(*words):
    """Runs vecdb knn: the peak of its memory, and that of its largest child (they read HDF5, one after the other)."""
    process = subprocess.Popen([str(VECDB), "knn", *map(str, words)], stdout=subprocess.DEVNULL)
    peaks = {}
    while process.poll() is None:
        for pid in {process.pid, *peaks}:
            try:
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
                children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            high = [int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:")]
            peaks[pid] = max([peaks.get(pid, 0), *high])
            peaks.update({int(child): 0 for child in children.split() if int(child) not in peaks})
        time.sleep(0.002)
    assert process.returncode == 0
    own = peaks.pop(process.pid)
    return own, max(peaks.values(), default=0)


@pytest.mark.skipif("asan" in str(VECDB), reason="the sanitizer's own memory is beyond all limits")
def test_a_limit_holds(tmp_path):
    """64 MB of vectors under a limit of 48 MB: the process's peak stays below it."""
    np.save(tmp_path / "base.npy", make("f32", 250_000, 64, 10))
    np.save(tmp_path / "queries.npy", make("f32", 10, 64, 11))
    words = ["--dataset", tmp_path / "base.npy", "--queries", tmp_path / "queries.npy"]
    peak, child = peak_bytes(*words, "--memory-limit", "48M")
    assert 20 << 20 < peak < 48 << 20 and child == 0


@pytest.mark.skipif("asan" in str(VECDB), reason="the sanitizer's own memory is beyond all limits")
def test_a_limit_holds_for_the_reader_too(tmp_path):
    """Chunks of 32 MB that must be unpacked whole: the process that does so counts."""
    np.save(tmp_path / "queries.npy", make("u8", 10, 128, 18))
    with h5py.File(tmp_path / "set.h5", "w") as file:
        data = np.tile(make("u8", 1 << 12, 128, 17), (192, 1))
        file.create_dataset("train", data=data, chunks=(1 << 18, 128), compression="gzip", shuffle=True)
    words = ["--dataset", tmp_path / "set.h5", "--queries", tmp_path / "queries.npy"]
    limit = smallest_limit(tmp_path / "set.h5", *words[2:]) + (4 << 20)
    peak, child = peak_bytes(*words, "--memory-limit", limit)
    assert child > 32 << 20 and peak + child < limit


@pytest.mark.skipif("asan" in str(VECDB), reason="the sanitizer's own memory is beyond all limits")
def test_a_limit_holds_for_long_lists_of_many_threads(tmp_path):
    """Few queries are cut into slices of the rows, each with lists of its own."""
    np.save(tmp_path / "base.npy", make("u8", 300_000, 4, 19))
    np.save(tmp_path / "queries.npy", make("u8", 32, 4, 20))
    words = ["--dataset", tmp_path / "base.npy", "--queries", tmp_path / "queries.npy", "--k", 16384]
    words += ["--threads", 8, "--out", tmp_path / "gt.npy"]
    limit = smallest_limit(tmp_path / "base.npy", *words[2:]) + (2 << 20)
    peak, _ = peak_bytes(*words, "--memory-limit", limit)
    assert 32 * 16384 * 16 < peak < limit


def test_k_beyond_the_set(files):
    folder, base, queries = files
    words = ["--queries", folder / "queries.npy", "--k", 16384]
    answer = batch(folder / "base.npy", *words, "--out", folder / "gt.npy")
    assert answer["k_returned"] == 900 and np.load(folder / "gt.npy").shape == (13, 900)
    run = vecdb("knn", "--dataset", folder / "base.npy", *words, "--out", folder / "gt.npy")
    assert "k is more than the dataset holds: all 900 vectors are returned" in run.stdout


# ---- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words,parts",
    [
        (["--range", "x"], ['--range is "x"']),
        (["--range", "nan"], ['--range is "nan"']),
        (["--range", "-1"], ["--range is -1, a distance is 0 or more"]),
        (["--range", "1", "--k", "3"], ["--k and --range exclude each other"]),
        (["--memory-limit", "0"], ['--memory-limit is "0"']),
        (["--memory-limit", "5X"], ['--memory-limit is "5X"']),
        (["--memory-limit", "-5"], ['--memory-limit is "-5"']),
        (["--memory-limit", "99999999999G"], ["--memory-limit is"]),
        (["--threads", "0"], ["--threads is 0", "1 to 1024"]),
        (["--threads", "1025"], ["--threads is 1025"]),
        (["--k", "16385"], ["--k is 16385", "1 to 16384"]),
        (["--bits", "160", "--metric", "l2"], ["--metric l2 does not compare vectors of bit"]),
        (["--bits", "161", "--metric", "hamming"], ["vectors of 161 bits take rows of 21 bytes, it has rows of 20"]),
        (["--out", "gt.txt"], ["must end in .npy, .hdf5 or .h5"]),
        (["--out", "gt.npy", "--range", "3"], ["--out writes lists of one length"]),
        (["--out", "gt.h5", "--metric", "l1"], ["no word for the metric l1"]),
        (["--out", "/nowhere/at/all/gt.npy"], ["--out", "No such file"]),
        (["--out", "/nowhere/at/all/gt.h5"], ["--out"]),
        (["--query", "q.npy"], ["exclude each other"]),
    ],
)
def test_bad_options(files, words, parts):
    folder, _, _ = files
    code = 1 if words[-1].endswith("/all/gt.h5") else 2
    run = vecdb("knn", "--dataset", folder / "base.npy", "--queries", folder / "queries.npy", *words)
    refused(run, "vecdb knn: ", *parts, code=code)


def test_out_does_not_overwrite_its_input(files):
    folder, base, _ = files
    words = ["--queries", folder / "queries.npy", "--out", folder / "base.npy"]
    refused(vecdb("knn", "--dataset", folder / "base.npy", *words), "would be overwritten")
    # Under whatever name, and the file of distances too.
    (folder / "link.npy").symlink_to("base.npy")
    os.link(folder / "queries.npy", folder / "gt_dist.npy")
    for out in (f"{folder}/./base.npy", folder / "link.npy", folder / "gt.npy"):
        run = vecdb("knn", "--dataset", folder / "base.npy", "--queries", folder / "queries.npy", "--out", out)
        refused(run, "--out is", "would be overwritten")
    with h5py.File(folder / "set.h5", "w") as file:
        file["train"], file["test"] = base, base[:2]
    whole = (folder / "set.h5").read_bytes()
    for dataset in (folder / "set.h5", f"{folder}/set.h5:train"):
        refused(vecdb("knn", "--dataset", dataset, "--out", f"{folder}/./set.h5"), "would be overwritten")
    assert (folder / "set.h5").read_bytes() == whole
    (folder / "dir.npy").mkdir()
    refused(vecdb("knn", "--dataset", folder / "set.h5", "--out", folder / "dir.npy"), "is no regular file")
    assert (np.load(folder / "base.npy") == base).all()


def test_bad_hdf5(tmp_path):
    good = make("f32", 10, 4, 12)
    cases = {
        "cube": (np.ones((2, 3, 4), np.float32), ["3 axes; 2"]),
        "flat": (np.ones(4, np.float32), ["1 axes; 2"]),
        "long": (np.ones((4, 4), np.int64), ["type i64", "i32"]),
        "text": (np.array([[b"a", b"b"]]), ["type string"]),
        "ids": (np.ones((4, 4), np.int32), ["i32 values (ids)"]),
        "wide": (np.ones((1, 65537), np.uint8), ["dimension is 65537, 1 to 65536"]),
        "none": (np.ones((0, 4), np.float32), ["holds 0 vectors"]),
        "five": (np.ones((10, 5), np.float32), ["dimension"]),
        "nan": (np.full((10, 4), np.nan, np.float32), ["row 0, column 0: the value is nan"]),
        "huge": (np.full((10, 4), 1e300), ["the value is infinity"]),
    }
    path = tmp_path / "set.hdf5"
    with h5py.File(path, "w") as file:
        file["train"], file["test"] = good, good
        for name, (array, _) in cases.items():
            file[name] = array
        file["soft"] = h5py.SoftLink("/train")
        file["away"] = h5py.ExternalLink("other.hdf5", "/train")
        file.create_group("group")
        file.create_dataset("unwritten", shape=(1 << 30, 4), dtype="f4", chunks=(64, 4))
        file.create_dataset("half", shape=(100, 4), dtype="f4", chunks=(10, 4))[:20] = 1
        file.create_dataset("holes", shape=(100, 4), dtype="f4", chunks=(10, 4), compression="gzip")[:20] = 1
        file.create_dataset("broad", shape=(1 << 20, 512), dtype="u1", chunks=(1 << 20, 512))
        file.create_dataset("lzf", data=good, compression="lzf")
        file.create_dataset("scaled", data=np.ones((100, 4), np.int8), scaleoffset=3)
        file.create_dataset("external", shape=(10, 4), dtype="f4", external=[("other.raw", 0, 160)])
        layout = h5py.VirtualLayout((10, 4), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "train", (10, 4))
        file.create_virtual_dataset("virtual", layout)
        file["null"], file["scalar"] = h5py.Empty("f4"), np.float32(3)
    for name, (_, parts) in cases.items():
        refused(vecdb("knn", "--dataset", f"{path}:{name}"), "vecdb knn: --dataset", *parts)
    for name, part in [("missing", "no such data set"), ("soft", "link"), ("away", "link"), ("group", "no data set"),
                       ("unwritten", "no values were ever written"), ("a/b", "no '/'"),
                       ("half", "(100, 4), 1600 bytes; the file has"), ("holes", "10 chunks; 2 were ever written"),
                       ("broad", "may hold 268435456 bytes together"), ("lzf", "filter number 32000; gzip"),
                       ("scaled", "filter number 6"), ("external", "outside of this file"),
                       ("virtual", "outside of this file"), ("null", "0 axes"), ("scalar", "0 axes")]:  # fmt: skip
        refused(vecdb("knn", "--dataset", f"{path}:{name}"), "set.hdf5", part)
    with h5py.File(path, "a") as file:
        del file["test"]
        file.attrs["distance"] = "chebyshev"
    refused(vecdb("knn", "--dataset", path), 'attribute "distance" is "chebyshev"; euclidean')
    refused(vecdb("knn", "--dataset", path, "--metric", "l2"), 'data set "test"', "no such data set")
    whole = path.read_bytes()
    for name, data in [("cut.h5", whole[:3000]), ("text.h5", b"hello"), ("empty.h5", b"")]:
        (tmp_path / name).write_bytes(data)
        refused(vecdb("knn", "--dataset", tmp_path / name), name, "libhdf5 cannot open it")
    refused(vecdb("knn", "--dataset", tmp_path / "no.h5"), "no.h5", "No such file")


@pytest.mark.parametrize("ending", ["npy", "h5"])
def test_a_file_that_changes_is_refused(tmp_path, ending):
    base = make("u8", 300_000, 64, 13)
    path = tmp_path / f"base.{ending}"
    if ending == "npy":
        np.save(path, base)
    else:
        with h5py.File(path, "w") as file:
            file["train"] = base
    np.save(tmp_path / "queries.npy", base[:500])
    stop = threading.Event()

    def write():
        while not stop.is_set():
            os.utime(path)
            time.sleep(0.001)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        limit = "32M" if ending == "npy" else "50M"
        run = vecdb("knn", "--dataset", path, "--queries", tmp_path / "queries.npy", "--memory-limit", limit)
    finally:
        stop.set()
        writer.join()
    refused(run, "vecdb knn: --dataset: ", "changed while it was read")


# ---- real data ---------------------------------------------------------------------------------------------


def real_files(name, level):
    if not os.environ.get("VECDB_DATA"):
        pytest.skip("VECDB_DATA is not set")
    folder = pathlib.Path(os.environ["VECDB_DATA"]) / name
    if not (folder / "base.npy").exists():
        pytest.skip(f"no {name} in VECDB_DATA")
    if level not in levels():
        pytest.skip(f"this processor has no {level}")
    return folder


@pytest.mark.parametrize("level", ["scalar", "avx2", "avx512"])
@pytest.mark.parametrize("name,metric,prefix", REAL)
def test_real_data_gives_exactly_the_ground_truth(tmp_path, name, metric, prefix, level):
    folder = real_files(name, level)
    truth, queries = np.load(folder / f"{prefix}_ids.npy"), np.load(folder / "queries.npy")
    if level == "scalar":  # slow: a sample
        truth, queries = truth[::50], queries[::50]
    np.save(tmp_path / "queries.npy", queries)
    words = ["--queries", tmp_path / "queries.npy", "--metric", metric, "--k", truth.shape[1], "--no-naive"]
    batch(folder / "base.npy", *words, "--out", tmp_path / "gt.npy", env={"VECDB_CPU": level})
    ids = np.load(tmp_path / "gt.npy")
    assert ids.shape == truth.shape
    differ = np.argwhere(ids != truth)
    assert len(differ) == 0, f"{len(differ)} ids differ, the first at query {differ[0][0]}, rank {differ[0][1]}"


@pytest.mark.parametrize("level", ["scalar", "avx2", "avx512"])
@pytest.mark.parametrize("name,metric,prefix", REAL)
def test_single_searches_of_real_data_give_exactly_the_ground_truth(tmp_path, name, metric, prefix, level):
    """One query after the other, on a sample spread over the file: by one thread, and each by two."""
    folder = real_files(name, level)
    truth, queries = np.load(folder / f"{prefix}_ids.npy"), np.load(folder / "queries.npy")
    sample = np.linspace(0, len(queries) - 1, 10 if level == "scalar" else 50).astype(int)
    np.save(tmp_path / "queries.npy", queries[sample])
    words = ["--query", tmp_path / "queries.npy", "--metric", metric, "--k", truth.shape[1], "--no-naive"]
    for threads in (1, 2) if level != "scalar" else (1,):
        answer = batch(folder / "base.npy", *words, "--threads", threads, env={"VECDB_CPU": level})
        assert answer["performance"]["kernels"] == level
        ids = np.array(ids_of(answer))
        assert ids.shape == truth[sample].shape
        differ = np.argwhere(ids != truth[sample])
        assert len(differ) == 0, f"{len(differ)} ids differ, the first at {sample[differ[0][0]]}, {differ[0][1]}"
