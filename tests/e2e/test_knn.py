"""`vecdb knn` and its siblings, run as a user runs them: the real binary, real files, exact answers from numpy.

VECDB_BIN_DIR  where the binaries are (default: build/release)
VECDB_DATA     a folder with fashion-mnist-784/ and sift-castle-128/, each with base.npy, queries.npy, gt_ids.npy and
               gt_dist.npy; the tests on real data are skipped without it
"""

import json
import os
import pathlib
import re
import struct
import subprocess

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
VECDB = pathlib.Path(os.environ.get("VECDB_BIN_DIR", ROOT / "build" / "release")) / "vecdb"
METRICS = ["l2", "cosine", "dot", "l1"]


def vecdb(*words, env=None):
    return subprocess.run(
        [str(VECDB), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, **(env or {})},
    )


def knn(dataset, query, *words):
    """Runs a search with --json and returns the parsed object."""
    run = vecdb("knn", "--dataset", dataset, "--query", query, "--json", *words)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return json.loads(run.stdout)


def refused(run, *parts, code=2):
    """One line on stderr that holds every part, nothing on stdout."""
    assert run.returncode == code, (run.returncode, run.stdout, run.stderr)
    assert run.stdout == ""
    assert run.stderr.startswith("vecdb") and run.stderr.count("\n") == 1 and run.stderr.endswith("\n")
    for part in parts:
        assert part in run.stderr


def scores(metric, base, query):
    """What a user sees, computed in float64 (exact for small integers)."""
    b, q = base.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        return np.sqrt(((b - q) ** 2).sum(axis=1))
    if metric == "l1":
        return np.abs(b - q).sum(axis=1)
    if metric == "dot":
        return b @ q
    return 1 - (b @ q) / (np.linalg.norm(b, axis=1) * np.linalg.norm(q))


def order(metric, values):
    """Ids, nearest first, ties to the lower id."""
    return np.lexsort((np.arange(len(values)), -values if metric == "dot" else values))


def make(kind, count, dimension, seed):
    rng = np.random.default_rng(seed)
    if kind == "u8":
        return rng.integers(0, 256, (count, dimension), dtype=np.uint8)
    if kind == "i8":
        return rng.integers(-128, 128, (count, dimension), dtype=np.int8)
    return rng.standard_normal((count, dimension)).astype(np.float16 if kind == "f16" else np.float32)


def check_answers(answer, metric, base, queries, k, tolerance):
    """Every list is sorted and, up to the tolerance, the exact one; with tolerance 0, id by id."""
    assert len(answer["queries"]) == len(queries)
    for entry, query in zip(answer["queries"], queries):
        wanted = scores(metric, base, query)
        best = order(metric, wanted)[: min(k, len(base))]
        ids = np.array([r["id"] for r in entry["results"]])
        distances = np.array([r["distance"] for r in entry["results"]])
        assert [r["rank"] for r in entry["results"]] == list(range(1, len(best) + 1))
        assert len(set(ids)) == len(ids)
        if tolerance == 0:
            assert ids.tolist() == best.tolist()
            assert distances.tolist() == wanted[best].tolist()
        else:
            assert np.abs(distances - wanted[ids]).max() <= tolerance
            assert np.abs(wanted[ids] - wanted[best]).max() <= tolerance


# ---- answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["u8", "i8", "f16", "f32"])
@pytest.mark.parametrize("count,dimension", [(1, 1), (500, 3), (2000, 100), (300, 784)])
def test_answers_are_exact(tmp_path, metric, kind, count, dimension):
    base, queries = make(kind, count, dimension, 1), make(kind, 7, dimension, 2)
    if metric == "cosine":  # the zero vector has no direction
        base[(base == 0).all(axis=1)] = 1
        queries[(queries == 0).all(axis=1)] = 1
    np.save(tmp_path / "base.npy", base)
    np.save(tmp_path / "queries.npy", queries)
    answer = knn(tmp_path / "base.npy", tmp_path / "queries.npy", "--metric", metric, "--k", 10)
    integers = kind in ("u8", "i8")
    # l2, l1 and dot of integers must agree to the last bit; cosine ends in a root and a division, in float64.
    tolerance = (1e-12 if metric == "cosine" else 0) if integers else 1e-5 * dimension
    check_answers(answer, metric, base, queries, 10, tolerance)
    assert answer["performance"]["naive"]["queries"] == 7
    if integers and metric != "cosine":
        assert answer["performance"]["naive"]["queries_equal"] == 7


@pytest.mark.parametrize("metric", METRICS)
def test_equal_distances_go_to_the_lower_id(tmp_path, metric):
    base = np.tile(make("u8", 3, 16, 3), (50, 1))
    np.save(tmp_path / "base.npy", base)
    np.save(tmp_path / "one.npy", base[1])
    answer = knn(tmp_path / "base.npy", tmp_path / "one.npy", "--metric", metric, "--k", 60)
    ids = [r["id"] for r in answer["queries"][0]["results"]]
    # Three groups of fifty equal vectors: within a group the ids rise.
    assert [i % 3 for i in ids[:50]] == [ids[0] % 3] * 50
    assert ids[:50] == sorted(ids[:50]) and ids[50:] == sorted(ids[50:])


def write_vecs(path, rows):
    with open(path, "wb") as file:
        for row in rows:
            file.write(struct.pack("<i", len(row)) + row.tobytes())


def test_fvecs_and_bvecs(tmp_path):
    base, queries = make("f32", 200, 24, 4), make("f32", 3, 24, 5)
    write_vecs(tmp_path / "base.fvecs", base)
    np.save(tmp_path / "queries.npy", queries)
    answer = knn(tmp_path / "base.fvecs", tmp_path / "queries.npy")
    check_answers(answer, "l2", base, queries, 10, 1e-4)

    base, queries = make("u8", 200, 24, 4), make("u8", 3, 24, 5)
    write_vecs(tmp_path / "base.bvecs", base)
    write_vecs(tmp_path / "queries.bvecs", queries)
    answer = knn(tmp_path / "base.bvecs", tmp_path / "queries.bvecs")
    check_answers(answer, "l2", base, queries, 10, 0)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy_versions(tmp_path, version):
    base = make("u8", 50, 8, 6)
    with open(tmp_path / "base.npy", "wb") as file:
        np.lib.format.write_array(file, base, version=version)
    answer = knn(tmp_path / "base.npy", tmp_path / "base.npy", "--k", 1)
    assert [q["results"][0]["id"] for q in answer["queries"]] == list(range(50))


@pytest.mark.parametrize("dataset_kind,query_kind", [("u8", "f32"), ("f32", "u8"), ("f16", "f32"), ("i8", "f16")])
def test_mixed_types_are_computed_in_f32(tmp_path, dataset_kind, query_kind):
    base, queries = make(dataset_kind, 100, 12, 7), make(query_kind, 4, 12, 8)
    np.save(tmp_path / "base.npy", base)
    np.save(tmp_path / "queries.npy", queries)
    answer = knn(tmp_path / "base.npy", tmp_path / "queries.npy")
    assert answer["computed_in"] == "f32"
    assert (answer["dataset"]["type"], answer["query"]["type"]) == (dataset_kind, query_kind)
    check_answers(answer, "l2", base, queries, 10, 1e-2)


def test_row_and_defaults(tmp_path):
    base, queries = make("u8", 100, 12, 9), make("u8", 5, 12, 10)
    np.save(tmp_path / "base.npy", base)
    np.save(tmp_path / "queries.npy", queries)
    answer = knn(tmp_path / "base.npy", tmp_path / "queries.npy", "--row", 4)
    assert answer["metric"] == "l2" and answer["k"] == 10
    assert [q["row"] for q in answer["queries"]] == [4]
    check_answers(answer, "l2", base, queries[4:], 10, 0)
    assert answer["dataset"] == {"path": str(tmp_path / "base.npy"), "count": 100, "dimension": 12, "type": "u8"}
    assert answer["query"]["count"] == 5


def test_performance_numbers_are_consistent(tmp_path):
    np.save(tmp_path / "base.npy", make("u8", 3000, 64, 11))
    np.save(tmp_path / "queries.npy", make("u8", 25, 64, 12))
    p = knn(tmp_path / "base.npy", tmp_path / "queries.npy")["performance"]
    assert p["queries"] == 25 and p["distance_calculations"] == 75000
    assert p["time_ms"] > 0 and p["load_ms"] > 0 and 0 < p["query_ms_median"] <= p["time_ms"]
    assert p["queries_per_second"] == pytest.approx(25 / (p["time_ms"] / 1e3))
    assert p["distances_per_second"] == pytest.approx(75000 / (p["time_ms"] / 1e3))
    assert p["gigabytes_per_second"] == pytest.approx(75000 * 64 / (p["time_ms"] / 1e3) / 1e9)
    assert p["naive"]["queries"] == 10 and p["naive"]["queries_equal"] == 10  # a sample of the 25
    assert p["speed_up"] == pytest.approx(p["naive"]["query_ms_median"] / p["query_ms_median"])
    assert p["kernels"] in ("scalar", "avx2", "avx512")

    p = knn(tmp_path / "base.npy", tmp_path / "queries.npy", "--no-naive")["performance"]
    assert p["naive"] is None and p["speed_up"] is None


def test_k_beyond_the_set(tmp_path):
    base = make("i8", 6, 4, 13)
    np.save(tmp_path / "base.npy", base)
    answer = knn(tmp_path / "base.npy", tmp_path / "base.npy", "--k", 16384)
    assert answer["k"] == 16384 and answer["k_returned"] == 6
    check_answers(answer, "l2", base, base, 16384, 0)
    run = vecdb("knn", "--dataset", tmp_path / "base.npy", "--query", tmp_path / "base.npy", "--k", 7)
    assert "k is more than the dataset holds: all 6 vectors are returned" in run.stdout


@pytest.mark.parametrize("level", ["scalar", "avx2", "avx512"])
def test_every_kernel_level(tmp_path, level):
    best = json.loads(vecdb("cpu", "--json", env={"VECDB_CPU": ""}).stdout)["processor_best"]
    levels = ["scalar", "avx2", "avx512"]
    if levels.index(level) > levels.index(best):
        pytest.skip(f"this processor has no {level}")
    base, queries = make("u8", 300, 100, 14), make("u8", 3, 100, 15)
    np.save(tmp_path / "base.npy", base)
    np.save(tmp_path / "queries.npy", queries)
    run = vecdb(
        "knn",
        "--dataset",
        tmp_path / "base.npy",
        "--query",
        tmp_path / "queries.npy",
        "--json",
        env={"VECDB_CPU": level},
    )
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout)
    assert answer["performance"]["kernels"] == level
    check_answers(answer, "l2", base, queries, 10, 0)


def test_squares_beyond_f32(tmp_path):
    base = np.array([[3e38, 0], [-3e38, 0], [1e30, 1e30]], np.float32)
    np.save(tmp_path / "big.npy", base)
    for metric in ("l2", "dot", "l1"):
        answer = knn(tmp_path / "big.npy", tmp_path / "big.npy", "--metric", metric)
        check_answers(answer, metric, base, base, 10, 1e33 if metric != "dot" else 1e70)


# ---- tables ------------------------------------------------------------------------------------------------


def test_tables(tmp_path):
    base, queries = make("f32", 1234, 16, 16), make("f32", 2, 16, 17)
    np.save(tmp_path / "base.npy", base)
    np.save(tmp_path / "queries.npy", queries)
    run = vecdb("knn", "--dataset", tmp_path / "base.npy", "--query", tmp_path / "queries.npy", "--k", 12)
    assert run.returncode == 0 and run.stderr == ""
    lines = run.stdout.splitlines()
    assert "1,234 vectors of dimension 16, f32" in lines[0]
    assert not any(line != line.rstrip() for line in lines)
    for row in (0, 1):
        start = lines.index(f"Query row {row}")
        table = lines[start + 2 : start + 2 + 14]
        assert table[0].split() == ["rank", "id", "distance"]
        assert len({len(line) for line in table}) == 1  # right-aligned: all lines end in one column
        ids = [int(line.split()[1]) for line in table[2:]]
        wanted = scores("l2", base, queries[row])
        assert ids[0] == order("l2", wanted)[0]
    performance = run.stdout[run.stdout.index("\nPerformance\n") :]
    for label in ["Distance calculations", "Time", "Naive time per query", "Speed-up", "Throughput", "Kernels"]:
        assert re.search(rf"^  {label}  ", performance, re.MULTILINE), label
    assert re.search(r"Distance calculations +2,468$", performance, re.MULTILINE)


def test_dot_is_headed_product_and_highest_first(tmp_path):
    base = np.array([[1, 0], [3, 0], [2, 0]], np.uint8)
    np.save(tmp_path / "base.npy", base)
    run = vecdb(
        "knn", "--dataset", tmp_path / "base.npy", "--query", tmp_path / "base.npy", "--row", 0, "--metric", "dot"
    )
    rows = [line.split() for line in run.stdout.splitlines()]
    assert ["rank", "id", "product"] in rows
    assert rows.index(["1", "1", "3"]) < rows.index(["2", "2", "2"]) < rows.index(["3", "0", "1"])


# ---- the other commands ------------------------------------------------------------------------------------


def test_help_and_version():
    for words in (["--help"], ["help"], ["-h"]):
        run = vecdb(*words)
        assert run.returncode == 0 and "knn" in run.stdout and "Example" in run.stdout and run.stderr == ""
    for command in ("knn", "cpu"):
        by_help = vecdb("help", command)
        assert by_help.returncode == 0 and "Usage: vecdb " + command in by_help.stdout
        assert "Example" in by_help.stdout
        assert vecdb(command, "--help").stdout == by_help.stdout
        assert max(map(len, by_help.stdout.splitlines())) <= 110
    run = vecdb("version")
    assert run.returncode == 0 and re.fullmatch(r"vecdb \d+\.\d+\.\d+\n", run.stdout)
    assert vecdb("--version").stdout == run.stdout


def test_cpu():
    run = vecdb("cpu", env={"VECDB_CPU": "scalar"})
    assert run.returncode == 0 and re.search(r"Kernels in use +scalar +as VECDB_CPU says", run.stdout)
    refused(vecdb("cpu", env={"VECDB_CPU": "sse9"}), "vecdb cpu: ", "sse9", "scalar, avx2, avx512")


def test_bad_commands():
    refused(vecdb(), "a command is missing")
    refused(vecdb("knm"), 'unknown command "knm"; did you mean "knn"?')
    refused(vecdb("frobnicate"), 'unknown command "frobnicate"; see vecdb --help')
    refused(vecdb("help", "frobnicate"), "unknown command")
    refused(vecdb("version", "now"), "version takes no options")
    refused(vecdb("bad\nname"), "bad?name")


def test_a_full_disk_is_a_failure(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    np.save(tmp_path / "base.npy", make("u8", 5, 4, 18))
    with open("/dev/full", "w") as full:
        run = subprocess.run(
            [str(VECDB), "knn", "--dataset", tmp_path / "base.npy", "--query", tmp_path / "base.npy"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert run.returncode == 1
    assert run.stderr.startswith("vecdb knn: write to standard output: ") and run.stderr.count("\n") == 1


# ---- bad input ---------------------------------------------------------------------------------------------


@pytest.fixture
def good(tmp_path):
    np.save(tmp_path / "good.npy", make("f32", 10, 4, 19))
    return tmp_path / "good.npy"


def search(dataset, query, *words):
    return vecdb("knn", "--dataset", dataset, "--query", query, *words)


@pytest.mark.parametrize(
    "words,parts",
    [
        (["--k", "0"], ["--k is 0", "1 to 16384"]),
        (["--k", "16385"], ["--k is 16385", "1 to 16384"]),
        (["--k", "ten"], ["--k is ten"]),
        (["--k"], ["--k needs a value"]),
        (["--metric", "l3"], ['--metric is "l3"', "l2, cosine, dot, l1"]),
        (["--row", "10"], ["--row is 10", "rows 0 to 9"]),
        (["--row", "-1"], ["--row is -1"]),
        (["--metrik", "l2"], ["unknown option --metrik; did you mean --metric?"]),
        (["--k", "3", "--k", "4"], ["--k is given twice"]),
        (["extra"], ['unexpected argument "extra"']),
    ],
)
def test_bad_options(good, words, parts):
    refused(search(good, good, *words), "vecdb knn: ", *parts)


def test_missing_options(good):
    refused(vecdb("knn"), "--dataset is missing")
    refused(vecdb("knn", "--dataset", good), "--query is missing")


def test_bad_files(tmp_path, good):
    whole = good.read_bytes()
    cases = {
        "none.npy": (None, ["none.npy"]),
        "empty.npy": (b"", ["not a .npy file"]),
        "text.npy": (b"1 2 3\n", ["not a .npy file"]),
        "name.txt": (whole, ["must end in .npy, .fvecs, .bvecs or .ivecs, .hdf5 or .h5"]),
        "cut.npy": (whole[:-1], ["shape (10, 4) of f32 takes 160 bytes, but 159 follow from byte 128"]),
        "more.npy": (whole + b"x", ["takes 160 bytes, but 161 follow"]),
        "header.npy": (whole[:40], ["header length is 118, but the file ends at byte 40"]),
        "lies.npy": (whole.replace(b"(10, 4)", b"(99999999, 4)").replace(b"      \n", b"\n"), ["(99999999, 4)"]),
        "version.npy": (whole[:6] + b"\x09" + whole[7:], ["format version is 9.0"]),
        "empty.fvecs": (b"", ["cut short"]),
        "zero.fvecs": (struct.pack("<i", 0) * 4, ["dimension is 0, 1 to 65536"]),
        "negative.bvecs": (struct.pack("<i", -4) * 4, ["dimension is -4"]),
        "cut.fvecs": (
            struct.pack("<i4f", 4, 1, 2, 3, 4) + struct.pack("<i2f", 4, 1, 2),
            ["row 1 at byte 20", "cut short"],
        ),
        "unequal.fvecs": (struct.pack("<i4fi2f", 4, 1, 2, 3, 4, 2, 1, 2), ["row 1 at byte 20", "dimension is 2"]),
        "ids.ivecs": (struct.pack("<i4i", 4, 1, 2, 3, 4), ["i32 values (ids)"]),
    }
    for name, (data, parts) in cases.items():
        path = tmp_path / name
        if data is not None:
            path.write_bytes(data)
        refused(search(path, good), "vecdb knn: --dataset: ", name, *parts)
        refused(search(good, path), "vecdb knn: --query: ", name, *parts)
    (tmp_path / "folder.npy").mkdir()
    refused(search(tmp_path / "folder.npy", good), "is a folder")


@pytest.mark.parametrize(
    "array,parts",
    [
        (np.ones((10, 4), np.float64), ["descr is '<f8'", "'<f4'"]),
        (np.ones((10, 4), ">f4"), ["descr is '>f4' (big-endian)"]),
        (np.asfortranarray(np.arange(40, dtype=np.float32).reshape(10, 4)), ["fortran_order is True"]),
        (np.ones((2, 5, 4), np.float32), ["shape has 3 axes"]),
        (np.float32(1), ["shape has 0 axes"]),
        (np.ones((0, 4), np.float32), ["holds 0 vectors"]),
        (np.ones((4, 0), np.float32), ["dimension 0, 1 to 65536"]),
        (np.ones((1, 65537), np.uint8), ["dimension 65537, 1 to 65536"]),
        (np.ones((10, 5), np.float32), ["dimension"]),
        (np.ones((10, 4), np.int32), ["i32 values (ids)"]),
    ],
)
def test_bad_arrays(tmp_path, good, array, parts):
    np.save(tmp_path / "bad.npy", array)
    refused(search(tmp_path / "bad.npy", good), "vecdb knn: ", *parts)
    refused(search(good, tmp_path / "bad.npy"), "vecdb knn: ", *parts)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(tmp_path, good, dtype, value):
    array = np.ones((10, 4), dtype)
    array[7, 2] = value
    np.save(tmp_path / "bad.npy", array)
    word = {np.inf: "infinity", -np.inf: "-infinity"}.get(value, "nan")
    refused(search(tmp_path / "bad.npy", good), "--dataset", "bad.npy", f"row 7, column 2: the value is {word}")
    refused(search(good, tmp_path / "bad.npy"), "--query", "bad.npy", "row 7, column 2")


def test_zero_vectors_have_no_cosine(tmp_path, good):
    array = np.ones((10, 4), np.float32)
    array[3] = [0, -0.0, 0, 0]
    np.save(tmp_path / "zero.npy", array)
    refused(search(tmp_path / "zero.npy", good, "--metric", "cosine"), "--dataset", "row 3: all values are zero")
    refused(search(good, tmp_path / "zero.npy", "--metric", "cosine"), "--query", "row 3")
    assert search(tmp_path / "zero.npy", good).returncode == 0


def test_types_that_do_not_mix(tmp_path):
    np.save(tmp_path / "u8.npy", make("u8", 5, 4, 20))
    np.save(tmp_path / "i8.npy", make("i8", 5, 4, 21))
    refused(search(tmp_path / "u8.npy", tmp_path / "i8.npy"), "--query holds i8 and --dataset u8")


def test_a_long_name_keeps_to_one_line(tmp_path, good):
    refused(search(tmp_path / ("x" * 240 + ".npy"), good), "vecdb knn: --dataset: ", "No such file")
    refused(search("y" * 4092 + ".npy", good), "the path has 4096 bytes, at most 4095 are allowed")


# ---- real data ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sift-castle-128", "fashion-mnist-784"])
def test_real_data_gives_exactly_the_ground_truth(name):
    if not os.environ.get("VECDB_DATA"):
        pytest.skip("VECDB_DATA is not set")
    folder = pathlib.Path(os.environ["VECDB_DATA"]) / name
    if not (folder / "base.npy").exists():
        pytest.skip(f"no {name} in VECDB_DATA")
    truth, squared = np.load(folder / "gt_ids.npy"), np.load(folder / "gt_dist.npy")
    answer = knn(folder / "base.npy", folder / "queries.npy", "--k", truth.shape[1])
    ids = np.array([[r["id"] for r in q["results"]] for q in answer["queries"]])
    distances = np.array([[r["distance"] for r in q["results"]] for q in answer["queries"]])
    assert ids.shape == truth.shape
    assert (ids == truth).all()
    assert (distances == np.sqrt(squared.astype(np.float64))).all()
