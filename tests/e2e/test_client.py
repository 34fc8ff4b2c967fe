"""The Python client against the real server: every method, filters, vectors to the bit, and errors."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import threading
import urllib.request

import numpy as np
import pytest
import vecdb
from vecdb import CollectionInfo, Point, VecDBClient

from server_process import SERVER

DOCS = [
    {"id": 1, "vector": [0.0, 0.0], "metadata": {"lang": "en", "year": 1999, "tags": ["a", "b"]}},
    {"id": 2, "vector": [1.0, 0.0], "metadata": {"lang": "de", "year": 2005, "tags": ["b"]}},
    {"id": "three", "vector": [0.0, 2.0], "metadata": {"lang": "en", "year": 2010.5, "author": {"name": "Ada"}}},
    {"id": "vier", "vector": [3.0, 4.0]},
]


@pytest.fixture
def docs(client: VecDBClient) -> VecDBClient:
    client.create_collection(name="docs", dimension=2, metric="l2")
    client.upsert(collection="docs", vectors=DOCS)
    return client


# ---- Collections -------------------------------------------------------------------------------------------


def test_life_of_a_collection(client):
    assert client.list_collections() == []
    made = client.create_collection(name="b", dimension=3, metric="dot", index_config={"type": "flat"})
    assert isinstance(made, CollectionInfo)
    assert (made.name, made.dimension, made.metric, made.count) == ("b", 3, "dot", 0)
    assert made.index_config["type"] == "flat"
    client.create_collection(name="a", dimension=1)
    assert [(info.name, info.metric) for info in client.list_collections()] == [("a", "cosine"), ("b", "dot")]
    assert client.get_collection("b").dimension == 3
    client.delete_collection("b")
    assert [info.name for info in client.list_collections()] == ["a"]
    with pytest.raises(vecdb.NotFound):
        client.get_collection("b")
    # The name is free again, and nothing of the old collection shines through.
    assert client.create_collection(name="b", dimension=2, metric="l2").count == 0


def test_info_counts(docs):
    info = docs.get_collection("docs")
    assert info.count == 4 and info.last_seq > 0 and info.memory_bytes > 0 and info.log_bytes > 0


# ---- Snapshots ---------------------------------------------------------------------------------------------


def test_snapshots(docs):
    made = docs.create_snapshot("docs", "before")
    assert made.name == "before" and made.points == 4 and made.bytes > 0
    assert docs.list_snapshots("docs") == [made]
    with pytest.raises(vecdb.AlreadyExists, match="before"):
        docs.create_snapshot("docs", "before")
    docs.delete("docs", [1, 2])
    docs.upsert("docs", [{"id": "vier", "vector": [9.0, 9.0], "metadata": {"lang": "fr"}}])
    nearest = docs.search("docs", [0, 0], limit=4, with_vector=True, snapshot="before")
    assert [hit.id for hit in nearest] == [1, 2, "three", "vier"] and nearest[3].score == 5.0
    assert [hit.id for hit in docs.search("docs", [0, 0])] == ["three", "vier"]
    english = {"field": "lang", "op": "==", "value": "en"}
    assert docs.count("docs", snapshot="before") == 4 and docs.count("docs") == 2
    assert docs.count("docs", english, snapshot="before") == 2 and docs.count("docs", english) == 1
    points = docs.get("docs", ["vier", 1], snapshot="before")
    assert [point.id for point in points] == ["vier", 1] and points[0].vector.tolist() == [3.0, 4.0]
    assert points[1].metadata["year"] == 1999
    docs.delete_snapshot("docs", "before")
    for call in (lambda: docs.count("docs", snapshot="before"), lambda: docs.get("docs", [1], snapshot="before"),
                 lambda: docs.search("docs", [0, 0], snapshot="before"),
                 lambda: docs.delete_snapshot("docs", "before")):
        with pytest.raises(vecdb.NotFound, match='snapshot "before"'):
            call()
    assert docs.list_snapshots("docs") == []


def test_reading_at_a_snapshot_while_others_write(client):
    client.create_collection(name="docs", dimension=4, metric="l2")
    rows = np.random.default_rng(7).standard_normal((500, 4)).astype(np.float32)
    client.upsert("docs", ids=range(500), array=rows)
    client.create_snapshot("docs", "then")
    wanted = [hit.id for hit in client.search("docs", rows[3], limit=20)]
    stop = threading.Event()
    failures = []

    def write():
        while not stop.is_set():
            client.upsert("docs", ids=range(500), array=np.zeros((500, 4)))
            client.delete("docs", range(0, 500, 2))

    def read():
        try:
            for _ in range(40):
                assert [hit.id for hit in client.search("docs", rows[3], limit=20, snapshot="then")] == wanted
                points = client.get("docs", range(500), snapshot="then")
                assert np.array_equal(np.stack([point.vector for point in points]), rows)
                assert client.count("docs", snapshot="then") == 500
        except Exception as error:
            failures.append(error)

    writer = threading.Thread(target=write)
    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in [writer, *readers]:
        thread.start()
    for thread in readers:
        thread.join()
    stop.set()
    writer.join()
    assert failures == []


# ---- Writes and reads --------------------------------------------------------------------------------------


def test_upsert_get_delete(docs):
    assert docs.count("docs") == 4
    assert docs.get("docs", ["vier", 7, 1]) == [
        Point("vier", {}, np.float32([3, 4])),
        Point(1, DOCS[0]["metadata"], np.float32([0, 0])),
    ]
    before = docs.get_collection("docs").last_seq
    replaced = docs.upsert("docs", [{"id": 1, "vector": [9, 9], "metadata": {"new": True}}])
    assert replaced.changed == 1 and replaced.seq > before
    assert docs.get("docs", [1]) == [Point(1, {"new": True}, np.float32([9, 9]))]
    assert docs.delete("docs", [1, "nobody", "vier"]).changed == 2
    assert docs.get("docs", [1, "vier"]) == []
    assert docs.count("docs") == 2
    assert docs.delete("docs", [1]).changed == 0


def test_an_id_twice_in_a_batch_the_later_stands(client):
    client.create_collection("docs", 1, "l2")
    client.upsert("docs", [{"id": 5, "vector": [1.0]}, {"id": 5, "vector": [2.0]}])
    assert client.count("docs") == 1
    assert client.get("docs", [5])[0].vector.tolist() == [2.0]


def test_number_and_text_ids_are_different(client):
    client.create_collection("docs", 1, "l2")
    ids = [0, 42, "42", 2**64 - 1, "0", "ü" * 127, " /?#%", "a\nb", '"']
    client.upsert("docs", ids=ids, array=np.arange(len(ids))[:, None])
    points = client.get("docs", list(reversed(ids)))
    assert [point.id for point in points] == list(reversed(ids))
    assert [point.vector[0] for point in points] == list(range(len(ids)))[::-1]
    assert client.delete("docs", [42]).changed == 1
    assert [point.id for point in client.get("docs", [42, "42"])] == ["42"]


def test_vectors_come_back_bit_for_bit(client):
    rng = np.random.default_rng(3)
    bits = rng.integers(0, 2**32, size=(200, 64), dtype=np.uint32)
    array = bits.view(np.float32)
    array[~np.isfinite(array)] = np.float32(-0.0)
    array[0, :4] = np.float32([0.0, -0.0, 1e-45, -3.4028235e38])
    client.create_collection("bits", 64, "l2")
    client.upsert("bits", ids=range(200), array=array)
    points = client.get("bits", range(200))
    assert np.stack([point.vector for point in points]).tobytes() == array.tobytes()
    small = np.float32([1e-3] * 64)
    hits = client.search("bits", small, limit=200, with_vector=True)
    assert {hit.id: hit.vector.tobytes() for hit in hits} == {i: array[i].tobytes() for i in range(200)}


def test_vectors_as_json_numbers(server, client):
    """Without the client: decimal numbers in, an array out."""
    client.create_collection("docs", 3, "l2")
    body = b'{"points": [{"id": 1, "vector": [0.1, -2e-3, 16777217]}]}'
    request = urllib.request.Request(server.url + "/v1/collections/docs/points", data=body)
    assert json.load(urllib.request.urlopen(request)).items() >= {"upserted": 1}.items()
    expected = np.array([0.1, -2e-3, 16777217]).astype(np.float32)
    assert client.get("docs", [1])[0].vector.tobytes() == expected.tobytes()
    point = json.load(urllib.request.urlopen(server.url + "/v1/collections/docs/points/1"))
    assert np.float32(point["vector"]).tobytes() == expected.tobytes()


def test_metadata_comes_back_as_it_was(client):
    metadata = {
        "empty": "",
        "null": None,
        "flags": [True, False],
        "numbers": [0, -1, 2**53, 2**63, 1.5, 1e-300, -0.0],
        "nested": {"a": {"b": [{"c": []}]}},
        "text": 'quotes " and \\ and \n and \u0001 and 漢字 and 😀',
        "": "an empty key",
        "z": 1,
        "a": 2,
    }
    client.create_collection("docs", 1, "l2")
    client.upsert("docs", [{"id": 1, "vector": [1.0], "metadata": metadata}])
    (point,) = client.get("docs", [1])
    assert json.dumps(point.metadata) == json.dumps(metadata), "values, kinds and order of keys"
    assert client.search("docs", [1.0])[0].metadata == metadata


def test_a_batch_beyond_one_request(client):
    client.create_collection("many", 4, "l2")
    array = np.arange(100_004, dtype=np.float32).reshape(-1, 4)
    result = client.upsert("many", ids=range(len(array)), array=array)
    assert (result.changed, result.requests) == (25_001, 3)
    assert client.count("many") == 25_001
    points = client.get("many", range(25_001))
    assert np.array_equal(np.stack([point.vector for point in points]), array)
    assert client.delete("many", range(0, 25_001, 2)).changed == 12_501
    assert client.count("many") == 12_500


# ---- Search ------------------------------------------------------------------------------------------------


def test_search_l2(docs):
    result = docs.search(collection="docs", vector=[0, 0], limit=3)
    assert result.ids == [1, 2, "three"] and result.scores == [0.0, 1.0, 2.0]
    assert result[0].metadata == DOCS[0]["metadata"] and result[0].vector is None and result.explain is None
    assert docs.search("docs", [0, 0], limit=16_384).scores == [0, 1, 2, 5]


def test_search_options(docs):
    result = docs.search("docs", [3, 4], limit=1, with_vector=True, with_metadata=False, explain=True)
    assert result[0].id == "vier" and result[0].vector.tolist() == [3, 4] and result[0].metadata is None
    assert result.explain.rows == 4 and result.explain.distances_computed == 4 and result.explain.plan


@pytest.mark.parametrize("metric", ["l2", "cosine", "dot", "l1"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_search_agrees_with_numpy(client, metric, dtype):
    rng = np.random.default_rng(11)
    array = rng.normal(size=(500, 37)).astype(dtype)
    query = rng.normal(size=37).astype(dtype)
    client.create_collection("x", 37, metric)
    client.upsert("x", ids=range(500), array=array)
    a, q = array.astype(np.float64), query.astype(np.float64)
    distance = {
        "l2": np.linalg.norm(a - q, axis=1),
        "cosine": 1 - a @ q / (np.linalg.norm(a, axis=1) * np.linalg.norm(q)),
        "dot": -(a @ q),
        "l1": np.abs(a - q).sum(axis=1),
    }[metric]
    result = client.search("x", query, limit=20)
    assert result.ids == np.argsort(distance, kind="stable")[:20].tolist()
    assert np.allclose(
        result.scores, np.sort(distance)[:20] * (-1 if metric == "dot" else 1), rtol=1e-5, atol=1e-6
    )


def test_equal_distances_come_in_id_order(client):
    client.create_collection("ties", 2, "l2")
    ids = ["b", 10, "a", 9, 2**63, "10"]
    client.upsert("ties", ids=ids, array=np.ones((6, 2)))
    assert client.search("ties", [0, 0], limit=6).ids == [9, 10, 2**63, "10", "a", "b"]
    assert client.search("ties", [0, 0], limit=2).ids == [9, 10]


def test_search_an_empty_collection(client):
    client.create_collection("empty", 2)
    assert len(client.search("empty", [1, 0])) == 0
    assert client.count("empty") == 0


ENGLISH = {"field": "lang", "op": "==", "value": "en"}
FILTERS = [
    (ENGLISH, [1, "three"]),
    ({"field": "lang", "op": "!=", "value": "en"}, [2]),
    ({"field": "year", "op": "<", "value": 2005}, [1]),
    ({"field": "year", "op": "<=", "value": 2005}, [1, 2]),
    ({"field": "year", "op": ">", "value": 2005}, ["three"]),
    ({"field": "year", "op": ">=", "value": 2010.5}, ["three"]),
    ({"field": "lang", "op": "in", "value": ["de", "fr"]}, [2]),
    ({"field": "tags", "op": "contains", "value": "b"}, [1, 2]),
    ({"field": "author.name", "op": "==", "value": "Ada"}, ["three"]),
    ({"field": "year", "op": "exists"}, [1, 2, "three"]),
    ({"not": {"field": "year", "op": "exists"}}, ["vier"]),
    ({"and": []}, [1, 2, "three", "vier"]),
    ({"or": []}, []),
    ({"and": [ENGLISH, {"field": "year", "op": ">", "value": 2000}]}, ["three"]),
    ({"or": [{"field": "lang", "op": "==", "value": "de"}, {"not": {"field": "lang", "op": "exists"}}]},
     [2, "vier"]),
    ({"field": "year", "op": "==", "value": "1999"}, []),
]  # fmt: skip


@pytest.mark.parametrize("condition, ids", FILTERS)
def test_filters(docs, condition, ids):
    assert docs.search("docs", [0, 0], filter=condition).ids == ids
    assert docs.count("docs", filter=condition) == len(ids)


def test_a_filter_is_applied_before_the_nearest_are_chosen(client):
    client.create_collection("x", 1, "l2")
    client.upsert("x", [{"id": i, "vector": [float(i)], "metadata": {"last": i >= 990}} for i in range(1000)])
    condition = {"field": "last", "op": "==", "value": True}
    assert client.search("x", [0.0], limit=5, filter=condition).ids == [990, 991, 992, 993, 994]


# ---- Errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, kind, words",
    [
        (lambda c: c.create_collection("docs", 2), vecdb.AlreadyExists, ["docs"]),
        (lambda c: c.create_collection("no spaces", 2), vecdb.InvalidArgument, ["name", "no spaces"]),
        (lambda c: c.create_collection("x" * 65, 2), vecdb.InvalidArgument, ["name"]),
        (lambda c: c.create_collection("x", 65_537), vecdb.VecDBError, ["dimension", "65537", "65536"]),
        (lambda c: c.create_collection("x", 2, "euclid"), vecdb.InvalidArgument, ["metric", "euclid"]),
        (lambda c: c.create_collection("x", 2, index_config={"type": "magic"}), vecdb.InvalidArgument, ["magic"]),
        (lambda c: c.create_collection("x", 2, index={"m": 1}), vecdb.InvalidArgument, ["index_config.m", "256"]),
        (lambda c: c.create_collection("x", 2, index={"n": 1}), vecdb.InvalidArgument, ["index_config", '"n"']),
        (lambda c: c.get_collection("none"), vecdb.NotFound, ["none"]),
        (lambda c: c.delete_collection("none"), vecdb.NotFound, ["none"]),
        (lambda c: c.count("none"), vecdb.NotFound, ["none"]),
        (lambda c: c.search("none", [1, 2]), vecdb.NotFound, ["none"]),
        (lambda c: c.delete("none", [1]), vecdb.NotFound, ["none"]),
        (lambda c: c.upsert("none", [{"id": 1, "vector": [1]}]), vecdb.NotFound, ["none"]),
        (lambda c: c.upsert("docs", [DOCS[0], {"id": 9, "vector": [1]}]), vecdb.InvalidArgument, ["points[1]"]),
        (lambda c: c.search("docs", [1, 2, 3]), vecdb.InvalidArgument, ["vector", "12 bytes", "dimension 2"]),
        (lambda c: c.search("docs", [1, 2], limit=16_385), vecdb.LimitExceeded, ["k", "16385", "16384"]),
        (lambda c: c.search("docs", [1, 2], filter={"field": "a", "op": "~", "value": 1}),
         vecdb.InvalidArgument, ["~"]),
        (lambda c: c.count("docs", filter={"fields": "a"}), vecdb.InvalidArgument, ["fields"]),
    ],
)  # fmt: skip
def test_errors_name_what_is_wrong(docs, call, kind, words):
    with pytest.raises(kind) as caught:
        call(docs)
    assert caught.value.status >= 400 and caught.value.code
    for word in words:
        assert word in caught.value.detail
    assert docs.count("docs") == 4, "nothing changed and the server goes on"


def test_zero_vector_under_cosine(client):
    client.create_collection("c", 2, "cosine")
    with pytest.raises(vecdb.InvalidArgument, match="zero"):
        client.upsert("c", [{"id": 1, "vector": [1, 0]}, {"id": 2, "vector": [0, 0]}])
    with pytest.raises(vecdb.InvalidArgument, match="zero"):
        client.search("c", [0, 0])
    assert client.count("c") == 0


def raw(server, method, path, body=b"", headers=()):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read()
    finally:
        connection.close()


POINTS = "/v1/collections/docs/points"


@pytest.mark.parametrize(
    "method, path, body, status, words",
    [
        ("POST", "/v1/collections", b"{", 400, []),
        ("POST", "/v1/collections", b"", 400, []),
        ("POST", "/v1/collections", b"[]", 400, []),
        ("POST", "/v1/collections", b'{"name": "x", "dimension": 2, "dim": 2}', 400, ["dim"]),
        ("POST", "/v1/collections", b'{"name": "x", "name": "y", "dimension": 2}', 400, ["name"]),
        ("POST", "/v1/collections", b'{"name": "x", "dimension": 0}', 400, ["dimension", "0"]),
        ("POST", "/v1/collections", b'{"name": "x", "dimension": -1}', 400, ["dimension"]),
        ("POST", "/v1/collections", b'{"name": "x", "dimension": 2.5}', 400, ["dimension"]),
        ("POST", "/v1/collections", b'{"dimension": 2}', 400, ["name"]),
        ("POST", POINTS, b'{"points": []}', 400, ["points"]),
        ("POST", POINTS, b'{"points": [{"id": 1, "vector": [1, NaN]}]}', 400, []),
        ("POST", POINTS, b'{"points": [{"id": 1, "vector": [1, 1e999]}]}', 400, ["vector"]),
        ("POST", POINTS, b'{"points": [{"id": 1, "vector": "AAAA"}]}', 400, ["vector"]),
        ("POST", POINTS, b'{"points": [{"id": 1, "vector": "AACAfwAAAAA="}]}', 400, ["vector"]),
        ("POST", POINTS, b'{"points": [{"id": -1, "vector": [1, 2]}]}', 400, ["id"]),
        ("POST", POINTS, b'{"points": [{"id": "", "vector": [1, 2]}]}', 400, ["id"]),
        ("POST", POINTS, b'{"points": [{"id": 1.5, "vector": [1, 2]}]}', 400, ["id"]),
        ("POST", POINTS, b'{"points": [{"id": 18446744073709551616, "vector": [1, 2]}]}',
         400, ["id"]),
        ("POST", POINTS, b'{"points": [{"id": 1, "vector": [1, 2], "metadata": 5}]}',
         400, ["metadata"]),
        ("POST", POINTS, b'{"points": [{"id": 1, "vector": [1, 2]}]} x', 400, []),
        ("POST", POINTS, b'{"points": [{"id": 1, "vector": [1, 2], "metadata": {"a": "\xff"}}]}',
         400, []),
        ("POST", "/v1/collections/docs/search", b'{"vector": [1, 2], "k": 0}', 400, ["k", "0"]),
        ("POST", "/v1/collections/docs/search", b'{"vector": [1, 2], "k": -3}', 400, ["k"]),
        ("POST", "/v1/collections/docs/search", b'{"k": 3}', 400, ["vector"]),
        ("POST", "/v1/collections/docs/points/get", b'{"ids": []}', 400, ["ids"]),
        ("GET", "/v1/collections/docs/points/77", b"", 404, ["77"]),
        ("GET", "/v1/nothing", b"", 404, []),
        ("PUT", "/v1/collections", b"{}", 405, []),
        ("DELETE", "/healthz", b"", 405, []),
    ],
)  # fmt: skip
def test_bad_requests_get_problem_json(server, client, method, path, body, status, words):
    client.create_collection("docs", 2, "l2")
    got, kind, answer = raw(server, method, path, body)
    assert got == status, answer
    assert kind.startswith("application/problem+json")
    problem = json.loads(answer)
    assert (
        problem["status"] == status and problem["code"] and problem["title"] and problem["type"] == "about:blank"
    )
    for word in words:
        assert word in problem["detail"]
    assert client.count("docs") == 0 and client.health()


def test_body_over_the_limit(server, client):
    client.create_collection("docs", 2, "l2")
    size = (64 << 20) + 1
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        head = f"POST /v1/collections/docs/points HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
        connection.sendall(head.encode())
        try:
            connection.sendall(b" " * size)
        except OSError:
            pass  # it may answer and close before it has read all
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 413 and b"67108864" in answer.read()
    assert client.health()


def test_points_over_the_limit(server, client):
    client.create_collection("docs", 1, "l2")
    points = [{"id": i, "vector": [1.0]} for i in range(10_001)]
    status, _, answer = raw(
        server, "POST", "/v1/collections/docs/points", json.dumps({"points": points}).encode()
    )
    assert status == 413 and "10000" in json.loads(answer)["detail"].replace(",", "")
    assert client.count("docs") == 0


def test_metadata_over_the_limit(client):
    client.create_collection("docs", 1, "l2")
    most = 1 << 20
    fits = {"t": "x" * (most - len('{"t":""}'))}
    client.upsert("docs", [{"id": 1, "vector": [1.0], "metadata": fits}])
    assert client.get("docs", [1])[0].metadata == fits
    with pytest.raises(vecdb.VecDBError, match="metadata") as caught:
        client.upsert("docs", [{"id": 2, "vector": [1.0], "metadata": {"t": fits["t"] + "x"}}])
    assert caught.value.status in (400, 413)
    assert client.count("docs") == 1


# ---- The server as a program -------------------------------------------------------------------------------


def test_health_ready_version_metrics(vecdb_server):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        metrics_port = probe.getsockname()[1]
    server = vecdb_server(metrics_port=metrics_port).start()
    client = server.client()
    assert client.health() and client.ready()
    assert client.version().version.count(".") == 2 and client.version().cpu in ("scalar", "avx2", "avx512")
    client.create_collection("docs", 1, "l2")
    client.upsert("docs", [{"id": 1, "vector": [1.0]}])
    for port in (server.port, metrics_port):
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
        assert "# TYPE " in text and "vecdb_" in text
    client.close()
    server.stop()


def test_everything_is_there_after_a_polite_stop(server):
    with server.client() as client:
        client.create_collection("docs", 2, "l2")
        client.upsert("docs", DOCS)
        client.delete("docs", [2])
        before = client.get("docs", [1, 2, "three", "vier"])
        seq = client.get_collection("docs").last_seq
    server.stop()
    server.start()
    with server.client() as client:
        assert client.get("docs", [1, 2, "three", "vier"]) == before and len(before) == 3
        assert client.get_collection("docs").last_seq == seq
        again = client.upsert("docs", DOCS)
        assert again.seq > seq and again.changed == 4


def test_sigint_stops_it_too(server):
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(60) == 0
    server.process = None


def run_server(*arguments):
    return subprocess.run([SERVER, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


def test_a_data_directory_in_use_is_refused(server, client):
    done = run_server("--data", server.data_dir, "--port", 0, "--metrics-port", 0)
    assert done.returncode == 2
    assert str(server.data_dir.name) in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert client.health()


def test_a_port_in_use_is_refused(server, tmp_path):
    done = run_server("--data", tmp_path / "other", "--port", server.port, "--metrics-port", 0)
    assert done.returncode == 2
    assert str(server.port) in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("arguments, word", [(["--port", "70000"], "70000"), (["--prot", "1"], "--prot")])
def test_bad_arguments_are_refused(tmp_path, arguments, word):
    done = run_server("--data", tmp_path / "data", *arguments)
    assert done.returncode == 2
    assert word in done.stderr and len(done.stderr.strip().splitlines()) == 1
