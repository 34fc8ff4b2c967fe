"""`vecdb storage` and indexes, run as a user runs it: init, index, search, stats."""

import json

import numpy as np
import pytest
from test_storage import asked, done, number, refused, storage

POINTS = 6_000
DIMENSION = 12


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Vectors around 30 middles, and queries beside some of them."""
    folder = tmp_path_factory.mktemp("vectors")
    rng = np.random.default_rng(21)
    middles = rng.normal(size=(30, DIMENSION))
    rows = middles[rng.integers(30, size=POINTS)] + 0.5 * rng.normal(size=(POINTS, DIMENSION))
    queries = rows[rng.integers(POINTS, size=20)] + 0.1 * rng.normal(size=(20, DIMENSION))
    np.save(folder / "rows.npy", rows.astype(np.float32))
    np.save(folder / "queries.npy", queries.astype(np.float32))
    return folder


def fill(path, files, *words):
    done("init", "--path", path, "--dim", DIMENSION, *words)
    done("insert", "--path", path, "--dataset", files / "rows.npy", "--batch", 1000)
    done("checkpoint", "--path", path)
    return path


def test_the_transcript(tmp_path, files):
    """init with settings, build, search with a check, a change, stats, a snapshot."""
    path = tmp_path / "data"
    out = done("init", "--path", path, "--dim", DIMENSION, "--index", "hnsw", "--m", 8, "--ef-construction", 60)
    assert "  index                 hnsw\n" in out
    done("insert", "--path", path, "--dataset", files / "rows.npy", "--batch", 1000)
    done("snapshot create", "--path", path, "--name", "filled")

    out = done("index", "--path", path)
    assert "hnsw, m 8, ef_construction 60" in out and number(out, "points") == POINTS
    out = done("index", "--path", path, "--build", "--threads", 2)
    assert number(out, "rows in graphs") == POINTS
    assert "0 neither read from disk nor built yet" in out and "in memory" in out

    out = done("search", "--path", path, "--query", files / "queries.npy", "--count", 2, "--k", 3)
    lines = out.splitlines()
    assert lines[2].split() == ["query", "rank", "id", "score"] and len(lines[3].split("  ")) > 3
    assert [line.split()[-3] for line in lines[4:10]] == ["1", "2", "3"] * 2  # ranks
    assert len({len(line) for line in lines[2:10]}) == 1, "the table is not aligned"
    assert lines[12 - 1].startswith("  plan ") and lines[11].split()[-1] == "hnsw"

    found = asked("search", "--path", path, "--query", files / "queries.npy", "--check")
    assert found["plan"] == "hnsw" and found["rows_indexed"] == POINTS and found["recall"] >= 0.95
    assert [len(hits) for hits in found["results"]] == [10] * 20
    exact = asked("search", "--path", path, "--query", files / "queries.npy", "--exact", "--check")
    assert exact["plan"] == "flat scan" and exact["recall"] == 1 and exact["ef"] == 0
    assert asked("search", "--path", path, "--query", files / "queries.npy", "--ef", 99)["ef"] == 99
    rows, queries = np.load(files / "rows.npy"), np.load(files / "queries.npy")
    for query, hits in zip(queries, exact["results"]):
        distances = np.sqrt(((rows.astype(float) - query) ** 2).sum(axis=1))
        assert hits[0]["id"] == distances.argmin()
        assert hits[0]["score"] == pytest.approx(distances.min(), rel=1e-6)

    made = asked("index", "--path", path, "--index", "qgraph", "--target-recall", "0.9", "--build")
    assert made["index_config"] == {"type": "qgraph", "target_recall": 0.9}
    assert made["index_status"]["rows"] == POINTS and made["index_status"]["builds"] == 1
    again = asked("index", "--path", path, "--build")
    assert again["index_status"]["builds"] == 0 and again["index_status"]["loads"] == 1
    # A width in place of a recall, and the other settings stay.
    made = asked("index", "--path", path, "--ef-search", 70)
    assert made["index_config"] == {"type": "qgraph", "ef_search": 70}
    assert asked("search", "--path", path, "--query", files / "queries.npy", "--count", 1)["ef"] == 70

    stats = asked("stats", "--path", path)
    assert stats["index"] == "qgraph" and stats["index_config"] == {"type": "qgraph", "ef_search": 70}
    assert stats["disk"]["index"]["files"] == 1
    assert stats["disk"]["index"]["bytes"] >= stats["index_status"]["file_bytes"] > 0
    assert "qgraph, ef_search 70" in done("stats", "--path", path)

    done("delete", "--path", path, "--fraction", "0.5")
    words = ["--path", path, "--query", files / "queries.npy", "--exact"]
    assert asked("search", *words, "--at", "filled")["results"] == exact["results"]
    assert asked("search", *words)["rows"] == POINTS
    assert asked("recover", "--path", path)["data_loss"] is False
    assert asked("verify", "--path", path)["ok"]


def test_a_compact_collection(tmp_path, files):
    """The graph of a compact collection is the plain one without codes: smaller, in memory and on disk; what it
    is shows wherever an index is told, and it can be changed to and fro."""
    query = ["--query", files / "queries.npy", "--check"]
    sizes = {}
    for kind, words in ("plain", []), ("compact", ["--compact"]):
        path = fill(tmp_path / kind, files, *words)
        made = asked("index", "--path", path, "--build")
        assert made["index_config"] == {"type": "qgraph"} | ({"compact": True} if words else {})
        status = made["index_status"]
        assert status["rows"] == POINTS and status["builds"] == 1
        sizes[kind] = (status["memory_bytes"], status["file_bytes"])
        found = asked("search", "--path", path, *query)
        assert found["plan"] == "qgraph" and found["recall"] >= 0.95
    assert all(small < large / 2 for small, large in zip(sizes["compact"], sizes["plain"])), sizes
    path = tmp_path / "compact"
    assert "  index                 qgraph, compact\n" in done("index", "--path", path)
    assert "qgraph, compact" in done("stats", "--path", path)
    assert asked("stats", "--path", path)["index_config"] == {"type": "qgraph", "compact": True}
    # Read, not built, by the next process; other settings leave it as it is.
    made = asked("index", "--path", path, "--target-recall", "0.9", "--build")
    assert made["index_config"] == {"type": "qgraph", "compact": True, "target_recall": 0.9}
    assert (made["index_status"]["builds"], made["index_status"]["loads"]) == (0, 1)
    # Codes and none take each other's place.
    made = asked("index", "--path", path, "--code-bits", 128)
    assert made["index_config"] == {"type": "qgraph", "code_bits": 128, "target_recall": 0.9}
    made = asked("index", "--path", path, "--compact")
    assert made["index_config"] == {"type": "qgraph", "compact": True, "target_recall": 0.9}
    made = asked("index", "--path", path, "--no-compact", "--build")
    assert made["index_config"] == {"type": "qgraph", "target_recall": 0.9}
    assert made["index_status"]["file_bytes"] == sizes["plain"][1]


def test_filters_and_text_ids_of_results(tmp_path, files):
    path = fill(tmp_path / "data", files, "--index", "flat")
    even = json.dumps({"field": "row", "op": "<", "value": 100})
    found = asked("search", "--path", path, "--query", files / "queries.npy", "--filter", even, "--k", 200)
    assert [len(hits) for hits in found["results"]] == [100] * 20 and found["plan"] == "flat scan, filtered"
    words = ["--path", path, "--query", files / "queries.npy"]
    refused(storage("search", *words, "--filter", '{"field":1}'), "filter")


@pytest.mark.parametrize(
    "verb, words, parts",
    [
        ("init", ["--dim", 4, "--index", "ivf"], ["--index", "ivf", "flat, hnsw, qgraph"]),
        ("init", ["--dim", 4, "--m", 3], ["--m", "3", "4", "256"]),
        ("init", ["--dim", 4, "--metric", "l1", "--index", "qgraph"], ["qgraph", "l1"]),
        ("init", ["--dim", 4, "--target-recall", "1.5"], ["--target-recall", "1.5"]),
        ("init", ["--dim", 4, "--target-recall", "x"], ["--target-recall", "x"]),
        ("init", ["--dim", 4, "--index", "flat", "--m", 16], ["m: 16", "flat"]),
        ("init", ["--dim", 4, "--index", "hnsw", "--ef-construction", 8], ["ef_construction", "8", "16..65536"]),
        ("init", ["--dim", 4, "--index", "hnsw", "--compact"], ["index_config.compact", "hnsw has none"]),
        ("init", ["--dim", 4, "--metric", "l1", "--compact"], ["index_config.compact", "hnsw has none"]),
        ("init", ["--dim", 4, "--index", "flat", "--compact"], ["index_config.compact", "flat has none"]),
        ("init", ["--dim", 4, "--compact", "--code-bits", 128], ["code_bits: 128", "compact"]),
        ("init", ["--dim", 4, "--compact=1"], ["--compact", "takes no value"]),
    ],
)
def test_bad_options_of_init(tmp_path, verb, words, parts):
    refused(storage(verb, "--path", tmp_path / "data", *words), *parts)


def test_bad_options(tmp_path, files):
    path = fill(tmp_path / "data", files, "--index", "hnsw", "--m", 8)
    query = ["--query", files / "queries.npy"]
    np.save(tmp_path / "wide.npy", np.zeros((2, DIMENSION + 1), np.float32))
    np.save(tmp_path / "none.npy", np.zeros((0, DIMENSION), np.float32))
    for verb, words, parts in [
        ("index", ["--index", "qgraph", "--code-bits", 65], ["code_bits", "65", "64"]),
        ("index", ["--code-bits", 64], ["code_bits", "hnsw"]),
        ("index", ["--m", 0], ["--m", "0", "4"]),
        ("index", ["--threads", 0], ["--threads"]),
        ("index", ["--compact"], ["index_config.compact", "hnsw has none"]),
        ("index", ["--compact", "--no-compact"], ["--compact", "--no-compact", "exclude"]),
        ("search", [], ["--query"]),
        ("search", [*query, "--k", 0], ["--k", "0", "16384"]),
        ("search", [*query, "--ef", 65537], ["--ef", "65537", "65536"]),
        ("search", [*query, "--ef", 10, "--target-recall", "0.9"], ["--ef", "--target-recall"]),
        ("search", [*query, "--target-recall", "0"], ["--target-recall", "0"]),
        ("search", [*query, "--count", 21], ["--count", "21", "20"]),
        ("search", [*query, "--at", "nothing"], ["nothing"]),
        ("search", ["--query", tmp_path / "wide.npy"], ["--query", "13", "12"]),
        ("search", ["--query", tmp_path / "none.npy"], ["--query"]),
        ("search", ["--query", tmp_path / "missing.npy"], ["missing.npy"]),
    ]:
        refused(storage(verb, "--path", path, *words), *parts)
    assert asked("index", "--path", path)["index_config"] == {"type": "hnsw", "m": 8}
