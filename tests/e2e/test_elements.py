"""Collections of f16, u8 and i8, as users meet them: the command line, the server and the Python client."""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest
import vecdb

ROOT = pathlib.Path(__file__).resolve().parents[2]
VECDB = pathlib.Path(os.environ.get("VECDB_BIN_DIR", ROOT / "build" / "release")) / "vecdb"
TYPES = {"f32": np.float32, "f16": np.float16, "u8": np.uint8, "i8": np.int8}
DIMENSION = 100
NAMES = list(TYPES)


def storage(verb, *words):
    return subprocess.run(
        [str(VECDB), "storage", *verb.split(), *map(str, words)], capture_output=True, text=True, timeout=300
    )


def asked(verb, *words):
    run = storage(verb, *words, "--json")
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def refused(run, *parts):
    assert run.returncode == 2 and run.stdout == "", (run.returncode, run.stdout)
    for part in parts:
        assert part in run.stderr


def rows_of(element, count, seed=0):
    """Rows that the element holds; few values, so that distances tie."""
    rng = np.random.default_rng(seed)
    if element in ("f32", "f16"):
        return rng.standard_normal((count, DIMENSION)).astype(TYPES[element])
    low, high = {"u8": (0, 256), "i8": (-128, 128)}[element]
    rows = rng.integers(low, high, (count, DIMENSION))
    rows[::2] = rows[::2] // 100
    return rows.astype(TYPES[element])


def nearest(rows, query, k):
    """Ids and distances (l2), equal ones in id order, in doubles."""
    distances = np.sqrt(((rows.astype(np.float64) - query.astype(np.float64)) ** 2).sum(axis=1))
    order = np.lexsort((np.arange(len(rows)), distances))[:k]
    return order.tolist(), distances[order]


def check_search(client, name, rows, query, k=20):
    result = client.search(name, query, limit=k, with_vector=True)
    ids, distances = nearest(rows, query, k)
    assert [hit.id for hit in result] == ids
    np.testing.assert_allclose(result.scores, distances, rtol=1e-14)
    for hit in result:
        assert hit.vector.tobytes() == rows[hit.id].astype(np.float32).tobytes()


@pytest.mark.parametrize("element", NAMES)
def test_a_dataset_from_the_command_line(tmp_path, element):
    """init, insert of a file in that type, checkpoint, stats, verify, snapshot, restore, backup, follow, compact."""
    rows = rows_of(element, 3000)
    np.save(tmp_path / "base.npy", rows)
    path = tmp_path / "data"
    made = asked("init", "--path", path, "--dim", DIMENSION, "--element", element)
    assert made["element"] == element
    asked("insert", "--path", path, "--dataset", tmp_path / "base.npy", "--batch", 500)
    assert storage("checkpoint", "--path", path).returncode == 0
    stats = asked("stats", "--path", path)
    assert stats["element"] == element and stats["points"] == 3000
    stride = -(-DIMENSION * rows.itemsize // 64) * 64
    assert 3000 * stride <= sum(segment["vector_bytes"] for segment in stats["segments"]) < 3000 * stride + 20_000
    assert f"element {element}" in " ".join(storage("stats", "--path", path).stdout.split())

    assert asked("snapshot create", "--path", path, "--name", "whole")["points"] == 3000
    asked("delete", "--path", path, "--fraction", "0.5")
    asked("compact", "--path", path)
    asked("snapshot restore", "--path", path, "--name", "whole", "--to", tmp_path / "old")
    asked("backup", "--path", path, "--to", tmp_path / "copy")
    asked("follow", "--path", path, "--to", tmp_path / "follower", "--once")
    for place, points in (("data", 1500), ("old", 3000), ("copy", 1500), ("follower", 1500)):
        assert asked("verify", "--path", tmp_path / place)["ok"]
        found = asked("recover", "--path", tmp_path / place)
        assert found["points_verified"] == points and not found["data_loss"]
        assert asked("stats", "--path", tmp_path / place)["element"] == element
    # What is generated suits the element, too.
    assert asked("insert", "--path", path, "--count", 300, "--first-id", 10_000)["acknowledged"] == 300


def test_what_the_command_line_refuses(tmp_path):
    path = tmp_path / "data"
    refused(storage("init", "--path", path, "--element", "bf16"), "--element", "bf16", "f32, u8, i8, f16")
    asked("init", "--path", path, "--dim", 2, "--element", "u8")
    np.save(tmp_path / "floats.npy", np.array([[1, 2], [3, 4.5]], dtype=np.float32))
    refused(
        storage("insert", "--path", path, "--dataset", tmp_path / "floats.npy"),
        'points[1].vector[1]: 4.5; the collection "default" keeps u8: whole numbers from 0 to 255',
    )
    np.save(tmp_path / "whole.npy", np.array([[1, 2], [3, 255]], dtype=np.float32))
    assert asked("insert", "--path", path, "--dataset", tmp_path / "whole.npy")["points"] == 2


@pytest.mark.parametrize("element", NAMES)
def test_search_in_memory_and_in_segments(vecdb_server, element):
    """The same answers before and after a checkpoint, for queries that the element holds and that it does not."""
    rows = rows_of(element, 1200)
    queries = [rows[7].astype(np.float32), rows[8] + np.float32(0.3), np.full(DIMENSION, 1e5, np.float32)]
    server = vecdb_server().start()
    with server.client() as client:
        assert client.create_collection("x", DIMENSION, "l2", element=element).element == element
        client.upsert("x", ids=range(600), array=rows[:600])
        client.upsert("x", ids=range(600, 1200), array=rows[600:])
        for query in queries:
            check_search(client, "x", rows, query)
    for verb in ("checkpoint", None, "compact"):
        server.stop()
        if verb is not None:
            assert storage(verb, "--path", server.data_dir, "--collection", "x").returncode == 0
        server.start()
        with server.client() as client:
            info = client.get_collection("x")
            assert info.element == element and info.count == 1200 and info.segment_rows > 0
            for query in queries:
                check_search(client, "x", rows, query)
            # Some of it in memory again.
            rows[::3] = rows_of(element, 1200, seed=5)[::3]
            client.upsert("x", ids=range(0, 1200, 3), array=rows[::3])
            for query in queries:
                check_search(client, "x", rows, query)
            points = client.get("x", range(1200))
            assert np.stack([point.vector for point in points]).tobytes() == rows.astype(np.float32).tobytes()


def test_rounding_happens_at_the_door(client):
    values = np.array([0.1, 1 / 3, 2049, -65504, 1e-9], dtype=np.float32)
    client.create_collection("halves", 5, "l2", element="f16")
    client.upsert("halves", [{"id": 1, "vector": values}])
    assert client.get("halves", [1])[0].vector.tobytes() == values.astype(np.float16).astype(np.float32).tobytes()


@pytest.mark.parametrize(
    "element, vector, says",
    [
        ("f16", [0, 65536], r'points\[1\].vector\[1\]: 65536; the collection "x" keeps f16: numbers from -65504 to 65504'),
        ("u8", [0, 256], r'points\[1\].vector\[1\]: 256; the collection "x" keeps u8: whole numbers from 0 to 255'),
        ("u8", [-1, 0], r"points\[1\].vector\[0\]: -1;"),
        ("u8", [0.5, 0], r"points\[1\].vector\[0\]: 0.5;"),
        ("i8", [0, 128], r'points\[1\].vector\[1\]: 128; the collection "x" keeps i8: whole numbers from -128 to 127'),
        ("i8", [-129, 0], r"points\[1\].vector\[0\]: -129;"),
    ],
)
def test_refused_numbers(client, element, vector, says):
    client.create_collection("x", 2, "l2", element=element)
    with pytest.raises(vecdb.InvalidArgument, match=says):
        client.upsert("x", [{"id": 1, "vector": [1, 1]}, {"id": 2, "vector": vector}])
    assert client.count("x") == 0


def test_unknown_elements(client):
    for element in ("bit", "bf16", "float16", "F16", ""):
        with pytest.raises(vecdb.InvalidArgument, match=f'element: "{element}" is none of f32, f16, u8, i8'):
            client.create_collection("x", 2, element=element)
    assert client.list_collections() == []
