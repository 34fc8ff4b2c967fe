"""What each method sends, and what it makes of the answer."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
import vecdb
from vecdb import (
    CollectionInfo,
    Explain,
    IndexStatus,
    Point,
    SearchHit,
    ServerVersion,
    Snapshot,
    WriteResult,
    wire,
)

INFO = {
    "name": "docs",
    "dimension": 2,
    "metric": "l2",
    "index_config": {"type": "flat"},
    "count": 3,
    "last_seq": 9,
    "memory_bytes": 100,
    "log_bytes": 200,
}


def floats(text):
    return np.frombuffer(base64.b64decode(text), "<f4")


def base64_of(values):
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


# ---- Collections -------------------------------------------------------------------------------------------


def test_create_collection(fake, client):
    fake.answer = (201, INFO)
    info = client.create_collection(name="docs", dimension=2, metric="l2", index_config={"type": "flat"})
    assert info == CollectionInfo("docs", 2, "l2", {"type": "flat"}, 3, 9, 100, 200)
    assert info.segment_live_bytes == 0 and info.compaction_debt_bytes == 0  # an older server tells nothing of it
    assert (fake.last.method, fake.last.path) == ("POST", "/v1/collections")
    assert fake.last.json == {"name": "docs", "dimension": 2, "metric": "l2", "index_config": {"type": "flat"}}
    assert fake.last.headers["Content-Type"] == "application/json"


def test_create_collection_defaults(fake, client):
    fake.answer = (201, INFO)
    client.create_collection("docs", np.int64(2))
    assert fake.last.json == {"name": "docs", "dimension": 2, "metric": "cosine"}


def test_create_collection_of_an_element(fake, client):
    fake.answer = (201, {**INFO, "element": "u8"})
    assert client.create_collection("docs", 2, "l2", element="u8").element == "u8"
    assert fake.last.json == {"name": "docs", "dimension": 2, "metric": "l2", "element": "u8"}
    fake.answer = (201, INFO)  # of a server that knows no other
    assert client.create_collection("docs", 2, "l2").element == "f32"


INDEX = {"rows": 20000, "rows_waiting": 5, "memory_bytes": 300, "file_bytes": 400, "ef_default": 48,
         "building": 0.25, "builds": 2, "loads": 1, "build_failures": 0, "build_seconds": 1.5,
         "shadow_queries": 7, "shadow_recall": 0.98, "news": 1}  # fmt: skip


def test_create_collection_with_an_index(fake, client):
    fake.answer = (201, {**INFO, "index": INDEX})
    index = {"type": "hnsw", "m": np.int32(16), "target_recall": 0.95}
    info = client.create_collection("docs", 2, "l2", index=index)
    assert fake.last.json == {
        "name": "docs", "dimension": 2, "metric": "l2",
        "index_config": {"type": "hnsw", "m": 16, "target_recall": 0.95},
    }  # fmt: skip
    assert info.index == IndexStatus(20000, 5, 300, 400, 48, 0.25, 2, 1, 0, 1.5, 7, 0.98)
    fake.answer = (201, {**INFO, "index": {**INDEX, "shadow_recall": None}})
    assert client.create_collection("docs", 2, index="flat").index.shadow_recall is None
    assert fake.last.json["index_config"] == {"type": "flat"}
    fake.answer = (201, INFO)  # a server that knows of no graphs
    assert client.create_collection("docs", 2).index == IndexStatus()


def test_set_and_build_index(fake, client):
    fake.answer = (200, {**INFO, "index_config": {"type": "hnsw", "ef_search": 99}, "index": INDEX})
    info = client.set_index("docs", {"type": "hnsw", "ef_search": 99})
    assert (fake.last.method, fake.last.path) == ("PUT", "/v1/collections/docs/index")
    assert fake.last.json == {"type": "hnsw", "ef_search": 99}
    assert info.index_config == {"type": "hnsw", "ef_search": 99} and info.index.rows == 20000
    client.set_index("a/b", "qgraph")
    assert (fake.last.path, fake.last.json) == ("/v1/collections/a%2Fb/index", {"type": "qgraph"})
    assert client.build_index("docs").index.rows_waiting == 5
    assert (fake.last.method, fake.last.path, fake.last.body) == ("POST", "/v1/collections/docs/index/build", b"")


def test_collection_routes(fake, client):
    fake.answer = (200, {"collections": [INFO, {**INFO, "name": "other"}]})
    assert [info.name for info in client.list_collections()] == ["docs", "other"]
    fake.answer = (200, INFO)
    assert client.get_collection("docs").count == 3
    assert (fake.last.method, fake.last.path) == ("GET", "/v1/collections/docs")
    fake.answer = (200, {"deleted": True})
    assert client.delete_collection("docs") is None
    assert (fake.last.method, fake.last.path) == ("DELETE", "/v1/collections/docs")


def test_names_are_percent_encoded(fake, client):
    fake.answer = (200, {"count": 0})
    client.count("a/b ?é")
    assert fake.last.path == "/v1/collections/a%2Fb%20%3F%C3%A9/count"


# ---- Writes ------------------------------------------------------------------------------------------------


def test_upsert_points(fake, client):
    fake.answer = (200, {"seq": 7, "upserted": 4})
    result = client.upsert(
        collection="docs",
        vectors=[
            {"id": 1, "vector": [0.1, 0.2], "metadata": {"lang": "en", "n": np.int32(3), "x": np.float64(0.5)}},
            {"id": "b", "vector": np.array([1, 2], dtype=np.float16)},
            {"id": np.uint64(2**64 - 1), "vector": (3, 4), "metadata": None},
            Point("p", {"k": ["ä", None, True]}, np.array([5.0, 6.0], dtype=np.float32)),
        ],
    )
    assert result == WriteResult(seq=7, changed=4, requests=1)
    assert fake.last.path == "/v1/collections/docs/points"
    points = fake.last.json["points"]
    assert [point["id"] for point in points] == [1, "b", 2**64 - 1, "p"]
    assert floats(points[0]["vector"]).tolist() == np.float32([0.1, 0.2]).tolist()
    assert [floats(point["vector"]).tolist() for point in points[1:]] == [[1, 2], [3, 4], [5, 6]]
    assert points[0]["metadata"] == {"lang": "en", "n": 3, "x": 0.5}
    assert "metadata" not in points[1] and "metadata" not in points[2]
    assert points[3]["metadata"] == {"k": ["ä", None, True]}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.dtype(">f4"), np.int8, np.uint8])
def test_upsert_array_of_any_dtype(fake, client, dtype):
    fake.answer = (200, {"seq": 1, "upserted": 3})
    array = np.arange(12).reshape(3, 4).astype(dtype)
    client.upsert("docs", ids=[1, 2, "x"], array=array, metadata=[{"a": 1}, None, {}])
    points = fake.last.json["points"]
    assert [floats(point["vector"]).tolist() for point in points] == array.astype(float).tolist()
    assert [point.get("metadata") for point in points] == [{"a": 1}, None, {}]


def test_upsert_array_that_is_not_contiguous(fake, client):
    fake.answer = (200, {"seq": 1, "upserted": 3})
    array = np.arange(24, dtype=np.float32).reshape(4, 6).T[::2]
    client.upsert("docs", ids=np.arange(3), array=array)
    assert [floats(point["vector"]).tolist() for point in fake.last.json["points"]] == array.tolist()


def test_vector_bits_survive(fake, client):
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 2**32, size=5000, dtype=np.uint32)
    values = bits.view(np.float32)
    values = np.append(values[np.isfinite(values)], np.float32([0.0, -0.0, 1e-45, 3.4028235e38]))
    fake.answer = (200, {"seq": 1, "upserted": 1})
    client.upsert("docs", [{"id": 1, "vector": values}])
    sent = fake.last.json["points"][0]["vector"]
    fake.answer = (200, {"points": [{"id": 1, "metadata": {}, "vector": sent}]})
    (point,) = client.get("docs", [1])
    assert point.vector.dtype == np.float32
    assert point.vector.tobytes() == values.tobytes()


def test_upsert_splits_by_count(fake, client):
    fake.answer = lambda request: (200, {"seq": len(fake.requests), "upserted": len(request.json["points"])})
    count = wire.POINTS_PER_REQUEST
    result = client.upsert("docs", ids=range(2 * count + 1), array=np.ones((2 * count + 1, 1), np.float32))
    assert result == WriteResult(seq=3, changed=2 * count + 1, requests=3)
    assert [len(request.json["points"]) for request in fake.requests] == [count, count, 1]
    assert [point["id"] for point in fake.requests[2].json["points"]] == [2 * count]


def test_upsert_at_the_limit_is_one_request(fake, client):
    fake.answer = lambda request: (200, {"seq": 1, "upserted": len(request.json["points"])})
    count = wire.POINTS_PER_REQUEST
    client.upsert("docs", ids=range(count), array=np.ones((count, 1), np.float32))
    assert len(fake.requests) == 1


def test_upsert_splits_by_bytes(fake, client, monkeypatch):
    monkeypatch.setattr(wire, "BYTES_PER_REQUEST", 5000)
    fake.answer = lambda request: (200, {"seq": 1, "upserted": len(request.json["points"])})
    points = [{"id": i, "vector": [1.0], "metadata": {"text": "x" * 1000}} for i in range(20)]
    result = client.upsert("docs", points)
    assert result.changed == 20 and result.requests == len(fake.requests) == 5
    assert all(len(request.body) <= 5000 + len('{"points":[]}') for request in fake.requests)
    assert [point["id"] for request in fake.requests for point in request.json["points"]] == list(range(20))


def test_a_later_request_that_fails_tells_what_stands(fake, client):
    def answer(request):
        if len(fake.requests) == 2:
            return 503, {"status": 503, "code": "no_space", "detail": "the disk is full"}
        return 200, {"seq": 1, "upserted": len(request.json["points"])}

    fake.answer = answer
    with pytest.raises(vecdb.Unavailable, match="the disk is full") as caught:
        client.upsert("docs", ids=range(25_000), array=np.ones((25_000, 1)))
    assert caught.value.points_written == 10_000
    assert len(fake.requests) == 2


def test_nothing_to_write_sends_nothing(fake, client):
    assert client.upsert("docs", []) == WriteResult(0, 0, 0)
    assert client.upsert("docs", ids=[], array=np.empty((0, 3))) == WriteResult(0, 0, 0)
    assert client.delete("docs", []) == WriteResult(0, 0, 0)
    assert client.get("docs", []) == []
    assert fake.requests == []


def test_delete(fake, client):
    fake.answer = (200, {"seq": 9, "deleted": 1})
    assert client.delete(collection="docs", ids=[1, "b"]) == WriteResult(9, 1, 1)
    assert fake.last.path == "/v1/collections/docs/points/delete"
    assert fake.last.json == {"ids": [1, "b"]}


# ---- Reads -------------------------------------------------------------------------------------------------


def test_get(fake, client):
    fake.answer = (200, {"points": [{"id": "b", "metadata": {"a": 1}, "vector": base64_of([1, 2])}]})
    assert client.get(collection="docs", ids=["b", 5]) == [Point("b", {"a": 1}, np.float32([1, 2]))]
    assert fake.last.json == {
        "ids": ["b", 5],
        "with_vector": True,
        "with_metadata": True,
        "vector_encoding": "base64",
    }
    fake.answer = (200, {"points": [{"id": 5}]})
    assert client.get("docs", [5], with_vector=False, with_metadata=False) == [Point(5, None, None)]
    assert fake.last.json["with_vector"] is False and fake.last.json["with_metadata"] is False


def test_count(fake, client):
    fake.answer = (200, {"count": 12})
    assert client.count("docs") == 12
    assert fake.last.method == "GET"
    condition = {"field": "lang", "op": "==", "value": "en"}
    assert client.count(collection="docs", filter=condition) == 12
    assert (fake.last.method, fake.last.json) == ("POST", {"filter": condition})


def test_search(fake, client):
    fake.answer = (
        200,
        {
            "results": [
                {"id": 1, "score": 0.5, "metadata": {"a": 1}, "vector": base64_of([1, 2])},
                {"id": "b", "score": 0.75, "metadata": {}},
            ],
            "explain": {"plan": "flat scan", "rows": 5, "rows_allowed": 4, "distances_computed": 4,
                        "filter_us": 0.5, "search_us": 1.5, "total_us": 2.5, "news": 1},
        },
    )  # fmt: skip
    condition = {"and": []}
    result = client.search(
        collection="docs", vector=np.float64([1, 2]), limit=5, filter=condition, with_vector=True, explain=True
    )
    assert len(result) == 2 and result.ids == [1, "b"] and result.scores == [0.5, 0.75]
    assert list(result) == [SearchHit(1, 0.5, {"a": 1}, np.float32([1, 2])), SearchHit("b", 0.75, {}, None)]
    assert result[-1].id == "b" and [hit.id for hit in result[:1]] == [1]
    assert result.explain == Explain("flat scan", 5, 4, 4, 0.5, 1.5, 2.5)
    sent = fake.last.json
    assert floats(sent.pop("vector")).tolist() == [1, 2]
    assert sent == {"k": 5, "filter": condition, "with_vector": True, "with_metadata": True,
                    "vector_encoding": "base64", "explain": True}  # fmt: skip


def test_search_in_graphs(fake, client):
    explain = {"plan": "qgraph", "rows": 9, "rows_allowed": 9, "distances_computed": 4, "filter_us": 0.0,
               "search_us": 1.5, "total_us": 2.5, "rows_indexed": 8, "ef": 64}  # fmt: skip
    fake.answer = (200, {"results": [], "explain": explain})
    result = client.search("docs", [1, 2], explain=True, ef=np.int64(64))
    assert result.explain == Explain("qgraph", 9, 9, 4, 0.0, 1.5, 2.5, rows_indexed=8, ef=64)
    assert fake.last.json["ef"] == 64 and not {"target_recall", "exact"} & set(fake.last.json)
    client.search("docs", [1, 2], target_recall=np.float32(0.5))
    assert fake.last.json["target_recall"] == 0.5 and not {"ef", "exact"} & set(fake.last.json)
    client.search("docs", [1, 2], exact=True)
    assert fake.last.json["exact"] is True and not {"ef", "target_recall"} & set(fake.last.json)
    client.search("docs", [1, 2])
    assert not {"ef", "target_recall", "exact"} & set(fake.last.json)


SNAPSHOT = {"name": "before", "seq": 9, "created_us": 1700000000000000, "points": 3, "bytes": 4096}


def test_snapshots(fake, client):
    fake.answer = (201, SNAPSHOT)
    assert client.create_snapshot("docs", "before") == Snapshot("before", 9, 1700000000000000, 3, 4096)
    assert (fake.last.method, fake.last.path) == ("POST", "/v1/collections/docs/snapshots")
    assert fake.last.json == {"name": "before"}
    fake.answer = (200, {"snapshots": [SNAPSHOT]})
    assert [snapshot.name for snapshot in client.list_snapshots("docs")] == ["before"]
    assert (fake.last.method, fake.last.path) == ("GET", "/v1/collections/docs/snapshots")
    fake.answer = (200, {"deleted": True})
    assert client.delete_snapshot("docs", "a/b") is None
    assert (fake.last.method, fake.last.path) == ("DELETE", "/v1/collections/docs/snapshots/a%2Fb")
    for name in ("", "..", 7):
        with pytest.raises((ValueError, TypeError), match="name"):
            client.delete_snapshot("docs", name)


def test_reads_at_a_snapshot(fake, client):
    fake.answer = (200, {"results": []})
    client.search("docs", [1, 2], snapshot="before")
    assert fake.last.json["snapshot"] == "before"
    client.search("docs", [1, 2])
    assert "snapshot" not in fake.last.json
    fake.answer = (200, {"points": []})
    client.get("docs", [1], snapshot="before")
    assert fake.last.json["snapshot"] == "before"
    client.get("docs", [1])
    assert "snapshot" not in fake.last.json
    fake.answer = (200, {"count": 3})
    assert client.count("docs", snapshot="before") == 3
    assert (fake.last.method, fake.last.json) == ("POST", {"snapshot": "before"})
    client.count("docs", {"field": "a", "op": "exists"}, snapshot="before")
    assert fake.last.json == {"filter": {"field": "a", "op": "exists"}, "snapshot": "before"}
    with pytest.raises(TypeError, match="snapshot"):
        client.search("docs", [1, 2], snapshot=3)


def test_results_do_not_change(fake, client):
    fake.answer = (200, {"results": [{"id": 1, "score": 0.5, "metadata": {}, "vector": base64_of([1, 2])}]})
    hit = client.search("docs", [1, 2])[0]
    with pytest.raises(AttributeError):
        hit.score = 0.0
    with pytest.raises(ValueError):
        hit.vector[0] = 3.0
    assert hit == hit and hit != SearchHit(1, 0.5, {}, None) and hit != SearchHit(1, 0.5, {}, np.float32([1, 3]))
    assert hit != "something else"


def test_server_state(fake, client):
    fake.answer = (200, {"status": "ok"})
    assert client.health() is True
    fake.answer = (200, {"status": "ready"})
    assert client.ready() is True
    fake.answer = (503, {"status": "opening"})
    assert client.ready() is False
    fake.answer = (200, {"version": "0.1.0", "cpu": "avx2"})
    assert client.version() == ServerVersion("0.1.0", "avx2")


# ---- Answers that make no sense ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer, says",
    [
        (b"<html>", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[1]", "no JSON object"),
        (b"{}", "lacks 'results'"),
        (b'{"results": {}}', "no list"),
        (b'{"results": [5]}', "no list"),
        (b'{"results": [{"id": 1}]}', "lacks 'score'"),
        (b'{"results": [{"id": 1, "score": "0"}]}', "no number"),
        (b'{"results": [{"id": 1, "score": 1, "vector": "AAA"}]}', "base64"),
        (b'{"results": [{"id": 1, "score": 1, "vector": "AAAA"}]}', "32-bit floats"),
    ],
)
def test_nonsense_is_a_server_error(fake, client, answer, says):
    fake.answer = (200, answer)
    with pytest.raises(vecdb.ServerError, match=says):
        client.search("docs", [1.0])


def test_vectors_as_arrays_are_understood_too(fake, client):
    fake.answer = (200, {"points": [{"id": 1, "metadata": {}, "vector": [0.5, 1]}]})
    assert client.get("docs", [1])[0].vector.tolist() == [0.5, 1.0]


def test_metadata_comes_back_as_json_says(fake, client):
    text = '{"points": [{"id": 1, "metadata": {"big": 12345678901234567890, "é": [1.5, null]}}]}'
    fake.answer = (200, text.encode())
    assert client.get("docs", [1])[0].metadata == json.loads(text)["points"][0]["metadata"]
