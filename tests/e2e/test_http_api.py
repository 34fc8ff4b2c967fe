"""The HTTP API over real sockets: every route of docs/api.md, every row of its error table that a client can provoke,
and after each bad input the same server goes on and has lost nothing."""

from __future__ import annotations

import base64
import http.client
import json
import math
import re
import socket
import struct
import threading
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from server_process import REPOSITORY, Server

JSON = "application/json; charset=utf-8"
PROBLEM = "application/problem+json; charset=utf-8"
BODY_MAX = 64 << 20
U64_MAX = 2**64 - 1


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def connect(server: Server) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)


def ask(server: Server, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
    """One request on a connection of its own. A body that is not bytes goes out as JSON."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    connection = connect(server)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


def ok(answer: Answer, status: int = 200) -> Any:
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == JSON
    return answer.json


def problem(answer: Answer, status: int, code: str, *says: str) -> None:
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == PROBLEM
    document = answer.json
    assert set(document) == {"type", "title", "status", "code", "detail"}
    assert document["type"] == "about:blank" and document["title"]
    assert (document["status"], document["code"]) == (status, code), document
    for text in says:
        assert text in document["detail"], document["detail"]


def raw(server: Server, request: bytes, timeout: float = 2) -> bytes:
    """Bytes in, bytes out until the server closes, resets or has nothing more to say for `timeout` seconds."""
    out = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(1 << 16):
                out += piece
        except OSError:  # a timeout too
            pass
    return out


def encoded(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


@pytest.fixture
def docs(server: Server) -> Server:
    """A server with the collection "docs" (dimension 2, l2) of two points."""
    ok(ask(server, "POST", "/v1/collections", {"name": "docs", "dimension": 2, "metric": "l2"}), 201)
    points = [
        {"id": 1, "vector": [0, 0], "metadata": {"lang": "en", "n": 1}},
        {"id": "b", "vector": encoded(3, 4)},
    ]
    ok(ask(server, "POST", "/v1/collections/docs/points", {"points": points}))
    return server


def goes_on(server: Server) -> None:
    """The server is the same process, ready, and has exactly the points of `docs`."""
    assert server.process is not None and server.process.poll() is None
    assert ok(ask(server, "GET", "/readyz")) == {"status": "ready"}
    assert ok(ask(server, "GET", "/v1/collections/docs/count")) == {"count": 2}
    assert ok(ask(server, "GET", "/v1/collections/docs/points/1"))["vector"] == [0, 0]


# ---- Every route -------------------------------------------------------------------------------------------------


def test_collections(server: Server) -> None:
    assert ok(ask(server, "GET", "/v1/collections")) == {"collections": []}
    created = ok(ask(server, "POST", "/v1/collections",
                     {"name": "docs", "dimension": 3, "metric": "dot", "index_config": {"type": "flat"}}), 201)
    assert created["name"] == "docs" and created["dimension"] == 3 and created["metric"] == "dot"
    assert created["index_config"] == {"type": "flat"} and created["count"] == 0
    assert created["element"] == "f32"
    assert set(created) == {"name", "dimension", "metric", "element", "index_config", "count", "last_seq", "memory_bytes",
                            "log_bytes", "segments", "segment_rows", "segment_dead", "segment_bytes",
                            "segment_live_bytes", "compaction_debt_bytes", "checkpoint_seq", "index"}
    default = ok(ask(server, "POST", "/v1/collections", {"name": "A.b-c_9", "dimension": 65536}), 201)
    assert default["metric"] == "cosine"
    assert default["index_config"] == {"type": "hnsw"}  # a qgraph has at most 8,192 dimensions
    assert ok(ask(server, "GET", "/v1/collections/docs")) == created
    listed = ok(ask(server, "GET", "/v1/collections"))["collections"]
    assert [info["name"] for info in listed] == ["A.b-c_9", "docs"] and listed[1] == created
    assert ok(ask(server, "DELETE", "/v1/collections/docs")) == {"deleted": True}
    problem(ask(server, "GET", "/v1/collections/docs"), 404, "not_found", "docs")
    assert len(ok(ask(server, "GET", "/v1/collections"))["collections"]) == 1


def test_points(docs: Server) -> None:
    path = "/v1/collections/docs/points"
    assert ok(ask(docs, "GET", f"{path}/1")) == {"id": 1, "metadata": {"lang": "en", "n": 1}, "vector": [0, 0]}
    assert ok(ask(docs, "GET", f"{path}/b")) == {"id": "b", "metadata": {}, "vector": [3, 4]}
    before = ok(ask(docs, "GET", "/v1/collections/docs"))["last_seq"]
    written = ok(ask(docs, "POST", path, {"points": [
        {"id": 1, "vector": [5, 6]}, {"id": U64_MAX, "vector": [0.1, -1e-45]}, {"id": "42", "vector": [1, 1]},
        {"id": 42, "vector": [2, 2], "metadata": {"ü": ["\n", None, {"deep": 1.5e300}]}}]}))
    assert written["upserted"] == 4 and written["seq"] > before
    # Replaced whole: the metadata went with the old point.
    assert ok(ask(docs, "GET", f"{path}/1")) == {"id": 1, "metadata": {}, "vector": [5, 6]}
    assert ok(ask(docs, "GET", f"{path}/42"))["metadata"] == {"ü": ["\n", None, {"deep": 1.5e300}]}
    found = ok(ask(docs, "POST", f"{path}/get", {"ids": ["42", 7, U64_MAX, 42], "with_vector": True,
                                                 "with_metadata": False}))["points"]
    assert [point["id"] for point in found] == ["42", U64_MAX, 42]
    assert all(set(point) == {"id", "vector"} for point in found)
    assert struct.pack("<2f", *found[1]["vector"]) == struct.pack("<2f", 0.1, -1e-45)
    plain = ok(ask(docs, "POST", f"{path}/get", {"ids": ["42"]}))["points"]
    assert plain == [{"id": "42", "metadata": {}}]
    as_base64 = ok(ask(docs, "POST", f"{path}/get", {"ids": [U64_MAX], "with_vector": True,
                                                     "vector_encoding": "base64"}))["points"]
    assert as_base64[0]["vector"] == encoded(0.1, -1e-45)
    deleted = ok(ask(docs, "DELETE", f"{path}/42"))
    assert deleted["deleted"] == 1 and deleted["seq"] > written["seq"]
    problem(ask(docs, "GET", f"{path}/42"), 404, "not_found", "docs", "42")
    assert ok(ask(docs, "DELETE", f"{path}/42"))["deleted"] == 0
    assert ok(ask(docs, "POST", f"{path}/delete", {"ids": ["42", "b", 999]}))["deleted"] == 2
    assert ok(ask(docs, "GET", "/v1/collections/docs/count")) == {"count": 2}


@pytest.mark.parametrize("text", ["a/b", "ü✓", " ", "%", "a b+c?d#e", "points", "get", "..", "-1", "1.0", '"\\\n',
                                  "x" * 255])
def test_string_ids_in_paths(docs: Server, text: str) -> None:
    ok(ask(docs, "POST", "/v1/collections/docs/points", {"points": [{"id": text, "vector": [1, 2]}]}))
    path = "/v1/collections/docs/points/" + quote(text, safe="")
    assert ok(ask(docs, "GET", path))["id"] == text
    assert ok(ask(docs, "DELETE", path))["deleted"] == 1
    goes_on(docs)


def test_search_and_count(docs: Server) -> None:
    found = ok(ask(docs, "POST", "/v1/collections/docs/search", {"vector": [0, 0]}))
    assert found == {"results": [{"id": 1, "score": 0, "metadata": {"lang": "en", "n": 1}},
                                 {"id": "b", "score": 5, "metadata": {}}]}
    only = {"field": "lang", "op": "==", "value": "en"}
    found = ok(ask(docs, "POST", "/v1/collections/docs/search",
                   {"vector": encoded(3, 4), "k": 5, "filter": only, "with_vector": True, "with_metadata": False,
                    "vector_encoding": "base64", "explain": True}))
    assert found["results"] == [{"id": 1, "score": 5, "vector": encoded(0, 0)}]
    assert set(found["explain"]) == {"plan", "rows", "rows_indexed", "rows_allowed", "ef", "distances_computed",
                                     "filter_us", "search_us", "total_us"}
    assert found["explain"]["rows_allowed"] == 1
    assert ok(ask(docs, "POST", "/v1/collections/docs/count", {"filter": only})) == {"count": 1}
    assert ok(ask(docs, "POST", "/v1/collections/docs/count", {})) == {"count": 2}
    assert ok(ask(docs, "GET", "/v1/collections/docs/count")) == {"count": 2}


def test_search_that_finds_nothing(docs: Server) -> None:
    none = {"field": "lang", "op": "==", "value": "xx"}
    assert ok(ask(docs, "POST", "/v1/collections/docs/search", {"vector": [0, 0], "filter": none})) == {"results": []}
    ok(ask(docs, "POST", "/v1/collections", {"name": "empty", "dimension": 1}), 201)
    assert ok(ask(docs, "POST", "/v1/collections/empty/search", {"vector": [1]})) == {"results": []}
    goes_on(docs)


@pytest.mark.parametrize("metric, score", [("l2", math.dist([1, 2], [3, 5])), ("l1", 5.0), ("dot", 13.0),
                                           ("cosine", 1 - 13 / math.sqrt(5 * 34))])
def test_scores(server: Server, metric: str, score: float) -> None:
    ok(ask(server, "POST", "/v1/collections", {"name": "s", "dimension": 2, "metric": metric}), 201)
    ok(ask(server, "POST", "/v1/collections/s/points", {"points": [{"id": 1, "vector": [3, 5]},
                                                                   {"id": "1", "vector": [3, 5]}]}))
    results = ok(ask(server, "POST", "/v1/collections/s/search", {"vector": [1, 2]}))["results"]
    assert [hit["id"] for hit in results] == [1, "1"]  # equal scores: integers before strings
    assert results[0]["score"] == pytest.approx(score, abs=1e-6)


def test_process_routes(docs: Server) -> None:
    assert ok(ask(docs, "GET", "/healthz")) == {"status": "ok"}
    assert ok(ask(docs, "GET", "/readyz")) == {"status": "ready"}
    version = ok(ask(docs, "GET", "/version"))
    assert re.fullmatch(r"\d+\.\d+\.\d+", version["version"]) and version["cpu"] in ("scalar", "neon", "avx2", "avx512")
    ask(docs, "GET", "/v1/collections/none")
    answer = ask(docs, "GET", "/metrics")
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    values = {}
    for line in answer.body.decode().splitlines():
        assert line.startswith("# ") or re.fullmatch(r'[a-z_]+(\{([a-z]+="[^"]*",?)+\})? ([0-9.e+-]+|NaN)', line), line
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            assert name not in values, name
            values[name] = float(value)
    assert values["vecdb_collections"] == 1 and values["vecdb_points"] == 2 and values["vecdb_ready"] == 1
    assert values["vecdb_writes_total"] >= 1 and values["vecdb_wal_syncs_total"] >= 1
    assert values["vecdb_space_amplification"] == 1 and values["vecdb_compaction_debt_bytes"] == 0
    assert values["vecdb_io_write_bytes_total"] >= values["vecdb_io_synced_bytes_total"] > 0
    assert values["vecdb_io_writes_total"] >= values["vecdb_wal_syncs_total"] and values["vecdb_io_failures_total"] == 0
    for target in ("file", "directory"):
        buckets = [(float(name.split('le="')[1][:-2].replace("+Inf", "inf")), value) for name, value in values.items()
                   if name.startswith('vecdb_sync_seconds_bucket{target="%s"' % target)]
        assert buckets == sorted(buckets) and [count for _, count in buckets] == sorted(count for _, count in buckets)
        assert len(buckets) == 26 and buckets[-1][1] == values['vecdb_sync_seconds_count{target="%s"}' % target] > 0
        assert values['vecdb_sync_seconds_sum{target="%s"}' % target] > 0
    assert values['vecdb_sync_seconds_count{target="file"}'] >= values["vecdb_wal_syncs_total"]
    assert values["vecdb_log_bytes"] > 0 and values["process_resident_memory_bytes"] > 1 << 20
    assert values["process_start_time_seconds"] > 1.6e9
    assert values['vecdb_http_requests_total{method="POST",route="/v1/collections",status="201"}'] == 1
    assert values['vecdb_http_requests_total{method="GET",route="/v1/collections/{name}",status="404"}'] == 1
    histogram = 'vecdb_http_request_duration_seconds_%s{method="POST",route="/v1/collections/{name}/points"%s}'
    assert values[histogram % ("count", "")] == values[histogram % ("bucket", ',le="+Inf"')] == 1


def test_head_and_keep_alive(docs: Server) -> None:
    connection = connect(docs)
    for method, path in [("HEAD", "/healthz"), ("GET", "/healthz"), ("HEAD", "/v1/collections/docs"),
                         ("GET", "/v1/collections/none"), ("GET", "/nothing"), ("GET", "/healthz")]:
        connection.request(method, path)
        sock = connection.sock
        response = connection.getresponse()
        body = response.read()
        assert (len(body) == 0) == (method == "HEAD")
        assert int(response.headers["Content-Length"]) > 0
        assert connection.sock is sock  # the same connection, kept also over errors
    connection.close()


def test_chunked_body(docs: Server) -> None:
    pieces = [b'{"points":[{"id":3,', b'"vector":[1,', b"2]}]}"]
    connection = connect(docs)
    connection.request("POST", "/v1/collections/docs/points", iter(pieces), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})
    assert json.loads(connection.getresponse().read())["upserted"] == 1
    connection.close()


def documented() -> dict[str, set[tuple[str, str]]]:
    """The routes that the page and the machine-readable form name."""
    page = (REPOSITORY / "docs" / "api.md").read_text()
    found = {"docs/api.md": set(re.findall(r"^\| `(GET|POST|PUT|DELETE) (\S+)` \|", page, re.MULTILINE)),
             "proto/openapi.yaml": set()}
    path = ""
    for line in (REPOSITORY / "proto" / "openapi.yaml").read_text().splitlines():
        if match := re.match(r"  (/\S*):$", line):
            path = match[1]
        elif match := re.match(r"    (get|post|delete|put|patch):$", line):
            found["proto/openapi.yaml"].add((match[1].upper(), path))
    return found


def test_documented_routes_are_served(docs: Server) -> None:
    found = documented()
    assert found["docs/api.md"] == found["proto/openapi.yaml"] and len(found["docs/api.md"]) == 21
    assert ask(docs, "POST", "/v1/collections/docs/snapshots", {"name": "before"}).status == 201
    for method, path in sorted(found["docs/api.md"], key=lambda route: route[0] != "GET"):
        concrete = path.replace("{name}", "docs").replace("{id}", "1").replace("{snapshot}", "before")
        if (method, path) != ("DELETE", "/v1/collections/{name}"):
            answer = ask(docs, method, concrete)
            assert answer.status not in (404, 405, 501), (method, path, answer)


# ---- The table of errors -----------------------------------------------------------------------------------------

POINTS = "/v1/collections/docs/points"
SEARCH = "/v1/collections/docs/search"
NESTED = b'{"a":' * 70 + b"1" + b"}" * 70


def point(**fields: Any) -> dict[str, Any]:
    return {"points": [{"id": 3, "vector": [9, 9]}, {"id": 9, "vector": [1, 2], **fields}]}


BAD_BODIES = [
    # 400: malformed
    (POINTS, b"", 400, "invalid", ["body: empty"]),
    (POINTS, b"{", 400, "invalid", ["byte 1"]),
    (POINTS, b"\x00\xff\x01\x80" * 100, 400, "invalid", ["byte 0"]),
    (POINTS, b"[]", 400, "invalid", ["expected"]),
    (POINTS, b'{"points":[]} x', 400, "invalid", []),
    (POINTS, b'{"points":[{"id":3,"vector":[1,2]}]}{}', 400, "invalid", ["byte 36"]),
    (POINTS, b'{"points":[{"id":3,"vector":[1,2],}]}', 400, "invalid", ["points[0]"]),
    (POINTS, b'{"points":[{"id":"\xff","vector":[1,2]}]}', 400, "invalid", ["points[0].id"]),
    (POINTS, b'{"points":[{"id":3,"vector":[01,2]}]}', 400, "invalid", ["points[0].vector[0]"]),
    # 400: vectors
    (POINTS, point(vector=[1]), 400, "invalid", ["points[1].vector", "1 numbers", '"docs" has dimension 2']),
    (POINTS, point(vector=[1, 2, 3]), 400, "invalid", ["points[1].vector", "3 numbers", "dimension 2"]),
    (POINTS, point(vector=encoded(1, 2, 3)), 400, "invalid", ["points[1].vector", "12 bytes", "8 bytes"]),
    (POINTS, point(vector="????"), 400, "invalid", ["points[1].vector"]),
    (POINTS, point(vector=encoded(1, math.nan)), 400, "invalid", ["points[1].vector[1]", "NaN"]),
    (POINTS, point(vector=encoded(-math.inf, 1)), 400, "invalid", ["points[1].vector[0]", "infinity"]),
    (POINTS, b'{"points":[{"id":3,"vector":[NaN,2]}]}', 400, "invalid", ["points[0].vector[0]"]),
    (POINTS, b'{"points":[{"id":3,"vector":[1,1e39]}]}', 400, "invalid", ["points[0].vector[1]"]),
    (POINTS, point(vector={}), 400, "invalid", ["points[1].vector", "object"]),
    # 400: ids, metadata, fields
    (POINTS, point(id=-1), 400, "invalid", ["points[1].id"]),
    (POINTS, point(id=2**64), 400, "invalid", ["points[1].id"]),
    (POINTS, point(id=1.5), 400, "invalid", ["points[1].id"]),
    (POINTS, point(id=None), 400, "invalid", ["points[1].id", "null"]),
    (POINTS, point(id=""), 400, "invalid", ["points[1].id", "1 to 255"]),
    (POINTS, point(id="x" * 256), 400, "invalid", ["points[1].id", "256", "255"]),
    (POINTS, point(metadata=[1]), 400, "invalid", ["points[1].metadata", "object"]),
    (POINTS, point(payload={}), 400, "invalid", ["points[1]", 'unknown field "payload"', "metadata"]),
    (POINTS, b'{"points":[{"id":3,"id":3,"vector":[1,2]}]}', 400, "invalid", ["points[0].id", "twice"]),
    (POINTS, {"points": []}, 400, "invalid", ["points", "0", "1 to 10000"]),
    (POINTS, {"point": []}, 400, "invalid", ['unknown field "point"', "points"]),
    (POINTS + "/get", {"ids": []}, 400, "invalid", ["ids", "1 to 10000"]),
    (POINTS + "/get", {"ids": [1], "vector_encoding": "hex"}, 400, "invalid", ["vector_encoding", "hex"]),
    (POINTS + "/delete", {"ids": [1], "with_vector": True}, 400, "invalid", ["with_vector"]),
    (POINTS + "/delete", {"ids": [1, True]}, 400, "invalid", ["ids[1]"]),
    # 400: searches and filters
    (SEARCH, {}, 400, "invalid", ["vector: missing"]),
    (SEARCH, {"vector": [1, 2, 3]}, 400, "invalid", ["vector", "3", "2"]),
    (SEARCH, {"vector": [1, 2], "k": 0}, 400, "invalid", ["k", "0", "16384"]),
    (SEARCH, {"vector": [1, 2], "k": -1}, 400, "invalid", ["k"]),
    (SEARCH, {"vector": [1, 2], "k": "3"}, 400, "invalid", ["k"]),
    (SEARCH, {"vector": [1, 2], "limit": 3}, 400, "invalid", ['unknown field "limit"']),
    (SEARCH, {"vector": [1, 2], "explain": 1}, 400, "invalid", ["explain"]),
    (SEARCH, {"vector": [1, 2], "filter": {"field": "n", "op": "=>", "value": 1}}, 400, "invalid", ["=>"]),
    (SEARCH, {"vector": [1, 2], "filter": {"feld": "n"}}, 400, "invalid", ["feld"]),
    (SEARCH, {"vector": [1, 2], "filter": []}, 400, "invalid", ["filter"]),
    ("/v1/collections/docs/count", {"filter": "x"}, 400, "invalid", ["filter"]),
    ("/v1/collections/docs/count", {"filtre": {}}, 400, "invalid", ["filtre"]),
    # 400: collections
    ("/v1/collections", {"name": "x"}, 400, "invalid", ["dimension: missing"]),
    ("/v1/collections", {"name": "x", "dimension": 0}, 400, "invalid", ["dimension", "0", "65536"]),
    ("/v1/collections", {"name": "x", "dimension": 65537}, 400, "invalid", ["dimension", "65537", "65536"]),
    ("/v1/collections", {"name": "x", "dimension": 2, "metric": "hamming"}, 400, "invalid", ["metric", "hamming"]),
    ("/v1/collections", {"name": "x", "dimension": 2, "element": "bit"}, 400, "invalid",
     ['element: "bit" is none of f32, f16, u8, i8']),
    ("/v1/collections", {"name": "x", "dimension": 2, "element": 2}, 400, "invalid", ["element"]),
    ("/v1/collections", {"name": "x", "dimension": 2, "shards": 2}, 400, "invalid", ["shards"]),
    *[("/v1/collections", {"name": name, "dimension": 2}, 400, "invalid", ["name"])
      for name in ["", ".x", "-x", "a/b", "../../etc", "a b", "ü", "a\u0000b", "x" * 65]],
    # 404, 409
    ("/v1/collections/none/points", point(), 404, "not_found", ["none"]),
    ("/v1/collections/none/search", {"vector": [1]}, 404, "not_found", ["none"]),
    ("/v1/collections/none/count", {}, 404, "not_found", ["none"]),
    ("/v1/collections/none/points/get", {"ids": [1]}, 404, "not_found", ["none"]),
    (SEARCH, {"vector": [1, 2], "snapshot": "gone"}, 404, "not_found", ["docs", 'snapshot "gone"']),
    (POINTS + "/get", {"ids": [1], "snapshot": "gone"}, 404, "not_found", ["docs", 'snapshot "gone"']),
    ("/v1/collections/docs/count", {"snapshot": "gone"}, 404, "not_found", ["docs", 'snapshot "gone"']),
    ("/v1/collections/docs/count", {"snapshot": "../.."}, 400, "invalid", ["../..", "illegal character"]),
    ("/v1/collections/docs/count", {"snapshot": 7}, 400, "invalid", ["snapshot"]),
    ("/v1/collections/none/snapshots", {"name": "x"}, 404, "not_found", ["none"]),
    ("/v1/collections/docs/snapshots", {"name": "a/b"}, 400, "invalid", ["a/b"]),
    ("/v1/collections/docs/snapshots", {}, 400, "invalid", ["name: missing"]),
    ("/v1/collections", {"name": "x", "dimension": 2,
                         "index_config": {"type": "qgraph", "compact": True, "code_bits": 128}}, 400, "invalid",
     ["code_bits: 128", "compact"]),
    ("/v1/collections/none/points/delete", {"ids": [1]}, 404, "not_found", ["none"]),
    ("/v1/collections", {"name": "docs", "dimension": 2}, 409, "exists", ["docs"]),
    # 413: one past each limit
    (POINTS, {"points": [{"id": i, "vector": [1, 2]} for i in range(10001)]}, 413, "limit", ["10001", "10000"]),
    (POINTS + "/get", {"ids": list(range(10001))}, 413, "limit", ["ids", "10001", "10000"]),
    (POINTS + "/delete", {"ids": list(range(10001))}, 413, "limit", ["ids", "10001", "10000"]),
    (SEARCH, {"vector": [1, 2], "k": 16385}, 413, "limit", ["k", "16385", "16384"]),
    (POINTS, b'{"points":[{"id":3,"vector":[1,2],"metadata":' + NESTED + b"}]}", 413, "limit", ["metadata"]),
    (POINTS, point(metadata={"a": "x" * (1 << 20)}), 413, "limit", ["points[1]", "metadata", "1048576"]),
    # 501
    ("/v1/collections", {"name": "x", "dimension": 8193, "index_config": {"type": "qgraph"}}, 501, "unsupported",
     ["8193"]),
]


@pytest.mark.parametrize("path, body, status, code, says", BAD_BODIES,
                         ids=[f"{i}-{row[2]}" for i, row in enumerate(BAD_BODIES)])
def test_bad_body(docs: Server, path: str, body: Any, status: int, code: str, says: list[str]) -> None:
    problem(ask(docs, "POST", path, body), status, code, *says)
    goes_on(docs)
    assert len(ok(ask(docs, "GET", "/v1/collections"))["collections"]) == 1


@pytest.mark.parametrize("method, path, status, code, allow", [
    ("GET", "/", 404, "not_found", None),
    ("GET", "/v1/collections/", 404, "not_found", None),
    ("GET", "/v1/collections/docs/points/1/2", 404, "not_found", None),
    ("GET", "/v1/collections/none", 404, "not_found", None),
    ("DELETE", "/v1/collections/none", 404, "not_found", None),
    ("GET", "/v1/collections/docs/points/77", 404, "not_found", None),
    ("GET", "/v1/collections/none/points/1", 404, "not_found", None),
    ("DELETE", "/v1/collections/none/points/1", 404, "not_found", None),
    ("GET", "/v1/collections/%2e%2e%2fetc", 404, "not_found", None),
    ("GET", "/v1/collections/docs%00", 400, "invalid", None),
    ("GET", "/v1/collections/%zz", 400, "invalid", None),
    ("GET", "/v1/collections/docs/points/%4", 400, "invalid", None),
    ("GET", "/v1/collections/docs/points/18446744073709551616", 400, "invalid", None),
    ("GET", "/v1/collections/docs/points/" + "x" * 256, 400, "invalid", None),
    ("GET", "/v1/collections?limit=5", 400, "invalid", None),
    ("PUT", "/v1/collections", 405, "invalid", "GET, HEAD, POST"),
    ("POST", "/v1/collections/docs", 405, "invalid", "GET, HEAD, DELETE"),
    ("GET", "/v1/collections/docs/points", 405, "invalid", "POST"),
    ("POST", "/v1/collections/docs/points/1", 405, "invalid", "GET, HEAD, DELETE"),
    ("GET", "/v1/collections/docs/search", 405, "invalid", "POST"),
    ("DELETE", "/v1/collections/docs/count", 405, "invalid", "GET, HEAD, POST"),
    ("OPTIONS", "/healthz", 405, "invalid", "GET, HEAD"),
    ("BREW", "/metrics", 405, "invalid", "GET, HEAD"),
])
def test_bad_path(docs: Server, method: str, path: str, status: int, code: str, allow: str | None) -> None:
    answer = ask(docs, method, path)
    problem(answer, status, code)
    assert answer.headers.get("allow") == allow
    goes_on(docs)


def test_zero_vector_of_cosine(docs: Server) -> None:
    ok(ask(docs, "POST", "/v1/collections", {"name": "c", "dimension": 2}), 201)
    problem(ask(docs, "POST", "/v1/collections/c/points", {"points": [{"id": 1, "vector": [0, 0]}]}), 400, "invalid",
            "points[0]", "vector", "zero")
    problem(ask(docs, "POST", "/v1/collections/c/search", {"vector": [0, 0]}), 400, "invalid", "vector", "zero")
    goes_on(docs)


def test_body_limit(docs: Server) -> None:
    request = b'{"points":[{"id":1,"vector":[0,0],"metadata":{"lang":"en","n":1}}]}'
    # At the limit (padded by white space) a body is read, one byte past it is not.
    assert ok(ask(docs, "POST", POINTS, request + b" " * (BODY_MAX - len(request))))["upserted"] == 1
    too_large = request + b" " * (BODY_MAX - len(request) + 1)
    problem(ask(docs, "POST", POINTS, too_large), 413, "limit", "body", str(BODY_MAX))
    goes_on(docs)
    # Without a length announced, and with 100-continue: the client learns before it sends.
    chunks = (too_large[i : i + (1 << 20)] for i in range(0, len(too_large), 1 << 20))
    connection = connect(docs)
    connection.request("POST", POINTS, chunks, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    response = connection.getresponse()
    assert response.status == 413 and json.loads(response.read())["code"] == "limit"
    connection.close()
    answer = raw(docs, b"POST %s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
                 % (POINTS.encode(), BODY_MAX + 1), timeout=30)
    assert answer.startswith(b"HTTP/1.1 413 ") and b'"code":"limit"' in answer
    goes_on(docs)


def test_header_limit(docs: Server) -> None:
    assert ok(ask(docs, "GET", "/healthz", headers={"X-Long": "x" * 60000})) == {"status": "ok"}
    problem(ask(docs, "GET", "/healthz", headers={"X-Long": "x" * 70000}), 431, "limit", "headers", "65536")
    problem(ask(docs, "GET", "/" + "x" * 70000), 431, "limit", "headers", "65536")
    # Far beyond the limit the library below answers, and may close before all was sent.
    answer = raw(docs, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * (1 << 20) + b"\r\n\r\n")
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
    goes_on(docs)


def test_pages_of_other_origins_are_refused(docs: Server) -> None:
    assert ok(ask(docs, "GET", "/healthz", headers={"Origin": docs.url})) == {"status": "ok"}
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "file://"):
        problem(ask(docs, "GET", "/healthz", headers={"Origin": origin}), 403, "invalid", "Origin")
    problem(ask(docs, "POST", "/v1/collections", {"name": "x", "dimension": 2},
                headers={"Origin": "http://evil.example"}), 403, "invalid", "Origin")
    assert b'{method="GET",route="/healthz",status="403"} 4\n' in ask(docs, "GET", "/metrics").body
    goes_on(docs)


@pytest.mark.parametrize("request_bytes", [
    b"",
    b"\x00",
    b"\r\n\r\n",
    b"hello\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2,  # a TLS greeting
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
    b"GET /\x00\x1b[31m HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /v1/collections HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
    b"POST /v1/collections HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/collections HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST /v1/collections HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    b"POST /v1/collections HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"POST /v1/collections HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"a:b\r\n" * 100000 + b"\r\n",
])
def test_not_quite_http(docs: Server, request_bytes: bytes) -> None:
    answer = raw(docs, request_bytes)
    assert answer == b"" or re.match(rb"HTTP/1\.[01] [45]\d\d ", answer), answer[:200]
    goes_on(docs)


def test_missing_host(docs: Server) -> None:
    answer = raw(docs, b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n", timeout=30)
    assert answer.startswith(b"HTTP/1.1 400 ") and b"Host" in answer and b'"code":"invalid"' in answer
    assert raw(docs, b"GET /healthz HTTP/1.0\r\n\r\n", timeout=30).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("second", [b"Content-Length: 40", b"content-length: 2", b"Transfer-Encoding: chunked"])
def test_two_lengths(docs: Server, second: bytes) -> None:
    """A proxy may see the body end elsewhere: the rest must not be answered as a request of its own."""
    hidden = b"DELETE /v1/collections/docs HTTP/1.1\r\nHost: x\r\n\r\n"
    headers = b"Host: x\r\nContent-Length: 2\r\n%s\r\n\r\n" % second
    answer = raw(docs, b"POST %s HTTP/1.1\r\n%s0\r\n\r\n%s" % (POINTS.encode(), headers, hidden), timeout=30)
    assert answer.startswith(b"HTTP/1.1 400 ") and b"headers: Content-Length is" in answer
    assert answer.count(b"HTTP/1.1 ") == 1
    goes_on(docs)


def test_answer_too_large(docs: Server) -> None:
    """k 16,384 with vectors of 65,536 dimensions would be an answer of 12 GiB."""
    ok(ask(docs, "POST", "/v1/collections", {"name": "wide", "dimension": 65536, "metric": "l2"}), 201)
    body = {"vector": encoded(*[0.0] * 65536), "k": 16384, "with_vector": True}
    problem(ask(docs, "POST", "/v1/collections/wide/search", body), 413, "limit", "with_vector", "65536")
    goes_on(docs)


# ---- Many at once ------------------------------------------------------------------------------------------------


def test_many_clients(docs: Server) -> None:
    """32 connections write, read, search and misbehave at once: every acknowledged point is there afterwards."""
    clients, rounds = 32, 12
    acknowledged: list[set[int]] = [set() for _ in range(clients)]
    failures: list[str] = []

    def work(number: int) -> None:
        try:
            connection = connect(docs)

            def call(method: str, path: str, body: Any = None) -> tuple[int, Any]:
                text = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
                connection.request(method, path, text)
                response = connection.getresponse()
                return response.status, json.loads(response.read())

            for i in range(rounds):
                ids = [1000 + (number * rounds + i) * 5 + j for j in range(5)]
                status, answer = call("POST", POINTS, {"points": [
                    {"id": one, "vector": [one, number], "metadata": {"client": number}} for one in ids]})
                assert status == 200 and answer["upserted"] == 5, answer
                acknowledged[number].update(ids)
                status, answer = call("GET", f"{POINTS}/{ids[-1]}")
                assert status == 200 and answer["vector"] == [ids[-1], number], answer
                status, answer = call("POST", SEARCH, {"vector": [ids[0], number], "k": 1})
                assert status == 200 and answer["results"][0]["id"] == ids[0], answer
                status, answer = call("POST", POINTS, b'{"points": [{"id": 5, "vector": [1]}]}')
                assert status == 400, answer
            connection.close()
        except Exception as error:  # noqa: BLE001 - any failure of any thread fails the test
            failures.append(f"client {number}: {error!r}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    for number, ids in enumerate(acknowledged):
        found = ok(ask(docs, "POST", f"{POINTS}/get", {"ids": sorted(ids)}))["points"]
        assert {one["id"] for one in found} == ids
        filtered = {"filter": {"field": "client", "op": "==", "value": number}}
        assert ok(ask(docs, "POST", "/v1/collections/docs/count", filtered)) == {"count": len(ids)}
    assert ok(ask(docs, "GET", "/v1/collections/docs/count")) == {"count": 2 + clients * rounds * 5}


def test_collections_come_and_go_under_writes(server: Server) -> None:
    """A collection is dropped and made again with another dimension while writers and readers use it: each gets an
    answer, and a point is never read with another dimension than it was written with."""
    stop = threading.Event()
    failures: list[str] = []
    path = "/v1/collections/moving"

    def use(dimension: int) -> None:
        try:
            while not stop.is_set():
                vector = [float(dimension)] * dimension
                answer = ask(server, "POST", f"{path}/points", {"points": [{"id": 1, "vector": vector}]})
                assert answer.status in (200, 400, 404, 503), answer
                answer = ask(server, "GET", f"{path}/points/1")
                if answer.status == 200:
                    read = answer.json["vector"]
                    assert read == [float(len(read))] * len(read), read
                answer = ask(server, "POST", f"{path}/search", {"vector": vector, "with_vector": True})
                assert answer.status in (200, 400, 404), answer
        except Exception as error:  # noqa: BLE001
            failures.append(repr(error))

    threads = [threading.Thread(target=use, args=(dimension,)) for dimension in (2, 700)]
    for thread in threads:
        thread.start()
    for i in range(60):
        ok(ask(server, "POST", "/v1/collections", {"name": "moving", "dimension": (2, 700)[i % 2], "metric": "l2"}), 201)
        ok(ask(server, "DELETE", path))
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert ok(ask(server, "GET", "/v1/collections")) == {"collections": []}


def test_everything_is_there_after_a_kill(docs: Server, tmp_path: Path) -> None:
    before = ok(ask(docs, "GET", "/v1/collections/docs"))
    points = ok(ask(docs, "POST", f"{POINTS}/get", {"ids": [1, "b"], "with_vector": True}))
    docs.kill()
    docs.start()
    assert ok(ask(docs, "POST", f"{POINTS}/get", {"ids": [1, "b"], "with_vector": True})) == points
    after = ok(ask(docs, "GET", "/v1/collections/docs"))
    assert {k: after[k] for k in ("name", "dimension", "metric", "count", "last_seq")} == \
        {k: before[k] for k in ("name", "dimension", "metric", "count", "last_seq")}
