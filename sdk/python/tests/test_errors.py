"""Errors: the server's, by status and code; the connection's; and input that the client itself refuses."""

from __future__ import annotations

import math
import socket
import threading
import time

import numpy as np
import pytest
import vecdb
from vecdb import VecDBClient
from vecdb.transport import parse_address

# ---- The server's ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status, code, kind",
    [
        (400, "invalid", vecdb.InvalidArgument),
        (404, "not_found", vecdb.NotFound),
        (405, "invalid", vecdb.InvalidArgument),
        (409, "exists", vecdb.AlreadyExists),
        (413, "limit", vecdb.LimitExceeded),
        (431, "limit", vecdb.LimitExceeded),
        (501, "unsupported", vecdb.InvalidArgument),
        (503, "read_only", vecdb.Unavailable),
        (503, "no_space", vecdb.Unavailable),
        (503, "no_memory", vecdb.Unavailable),
        (503, "busy", vecdb.Unavailable),
        (500, "io", vecdb.ServerError),
        (500, "corrupt", vecdb.ServerError),
    ],
)
def test_problem_json_becomes_an_exception(fake, client, status, code, kind):
    detail = "points[3].vector: 255 numbers given"
    fake.answer = (
        status,
        {"type": "about:blank", "title": "t", "status": status, "code": code, "detail": detail},
    )
    with pytest.raises(vecdb.VecDBError) as caught:
        client.count("docs")
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.code, caught.value.detail) == (status, code, detail)
    assert detail in str(caught.value) and code in str(caught.value)


@pytest.mark.parametrize(
    "status, body, kind, detail",
    [
        (404, b"<html>nothing here</html>", vecdb.NotFound, "nothing here"),
        (413, b"", vecdb.LimitExceeded, "HTTP 413"),
        (400, b'"text"', vecdb.InvalidArgument, "HTTP 400"),
        (418, b"{}", vecdb.InvalidArgument, "HTTP 418"),
        (502, b"bad gateway", vecdb.ServerError, "bad gateway"),
        (500, b'{"detail": 5, "code": "new"}', vecdb.ServerError, "HTTP 500"),
        (507, b'{"title": "a title", "code": "new"}', vecdb.ServerError, "a title"),
        (302, b"", vecdb.VecDBError, "HTTP 302"),
    ],
)
def test_other_bodies_are_told_as_they_are(fake, client, status, body, kind, detail):
    fake.answer = (status, body)
    with pytest.raises(vecdb.VecDBError, match=detail) as caught:
        client.get_collection("docs")
    assert type(caught.value) is kind


def test_an_unknown_code_goes_by_its_status(fake, client):
    fake.answer = (503, {"code": "brand_new", "detail": "later"})
    with pytest.raises(vecdb.Unavailable) as caught:
        client.count("docs")
    assert caught.value.code == "brand_new"


# ---- The connection's --------------------------------------------------------------------------------------


def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_nobody_there():
    with VecDBClient(f"localhost:{unused_port()}") as client:
        for call in (lambda: client.health(), lambda: client.upsert("docs", [{"id": 1, "vector": [1.0]}])):
            with pytest.raises(vecdb.ConnectionFailed, match="refused") as caught:
                call()
            assert caught.value.maybe_sent is False and caught.value.status == 0


def test_a_read_waits_for_a_server_that_comes_back(fake):
    fake.answer = (200, {"count": 3})
    port = unused_port()
    with VecDBClient(f"127.0.0.1:{port}") as client, socket.socket() as late:
        late.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        late.bind(("127.0.0.1", port))

        def serve_once():
            late.listen()
            connection, _ = late.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"count": 3}')

        timer = threading.Timer(0.1, serve_once)
        timer.start()
        assert client.count("docs") == 3
        timer.join()


def test_an_answer_that_breaks_off_is_not_asked_for_again(fake, client):
    fake.answer = (200, "drop")
    for call in (lambda: client.count("docs"), lambda: client.delete("docs", [1])):
        before = len(fake.requests)
        with pytest.raises(vecdb.ConnectionFailed) as caught:
            call()
        assert caught.value.maybe_sent is True
        assert len(fake.requests) == before + 1


def test_timeout(fake):
    release = threading.Event()

    def answer(request):
        release.wait(5)
        return 200, {"count": 1}

    fake.answer = answer
    with VecDBClient(fake.url, timeout=0.2) as client:
        with pytest.raises(vecdb.ConnectionFailed, match="no answer within 0.2 s") as caught:
            client.count("docs")
        assert caught.value.maybe_sent is True
    release.set()
    assert len(fake.requests) == 1


def test_a_build_is_waited_for(fake):
    """Longer than the client's timeout, unless the call has one of its own."""

    def slow(request):
        time.sleep(0.5)
        return 200, {"name": "docs", "dimension": 2, "metric": "l2"}

    fake.answer = slow
    with VecDBClient(fake.url, timeout=0.2) as client:
        assert client.build_index("docs").name == "docs"
        with pytest.raises(vecdb.ConnectionFailed, match=r"no answer within 0\.1 s") as caught:
            client.build_index("docs", timeout=0.1)
        assert caught.value.maybe_sent
        with pytest.raises(ValueError, match="timeout: 0"):
            client.build_index("docs", timeout=0)


def test_a_closed_client_says_so(fake):
    client = VecDBClient(fake.url)
    client.close()
    with pytest.raises(vecdb.ConnectionFailed, match="closed"):
        client.count("docs")
    assert fake.requests == []


def test_redirects_are_not_followed(fake, client):
    fake.answer = (307, {})
    with pytest.raises(vecdb.VecDBError):
        client.upsert("docs", [{"id": 1, "vector": [1.0]}])
    assert len(fake.requests) == 1


def test_one_client_for_many_threads(fake):
    fake.answer = lambda request: (200, {"count": int(request.path.split("/")[3])})
    wrong = []

    def work(number):
        for _ in range(20):
            if client.count(str(number)) != number:
                wrong.append(number)

    with VecDBClient(fake.url, pool_size=3) as client:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == [] and len(fake.requests) == 160


# ---- Addresses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address, parts",
    [
        ("localhost", ("http", "localhost", 6334, "")),
        ("localhost:6334", ("http", "localhost", 6334, "")),
        ("10.0.0.1:80", ("http", "10.0.0.1", 80, "")),
        ("[::1]:7", ("http", "::1", 7, "")),
        ("http://db:6334/", ("http", "db", 6334, "")),
        ("http://db", ("http", "db", 80, "")),
        ("https://db/vec/", ("https", "db", 443, "/vec")),
    ],
)
def test_addresses(address, parts):
    assert parse_address(address) == parts


@pytest.mark.parametrize(
    "address",
    ["", "ftp://x", "http://", ":6334", "x:port", "x:70000", "http://u:p@x", "http://x/?a=1", "http://[::1"],
)
def test_bad_addresses(address):
    with pytest.raises(ValueError, match="address"):
        VecDBClient(address)


def test_path_prefix(fake):
    fake.answer = (200, {"count": 0})
    with VecDBClient(fake.url + "/vec/") as client:
        client.count("docs")
    assert fake.last.path == "/vec/v1/collections/docs/count"


def test_bad_client_options():
    with pytest.raises(TypeError, match="address"):
        VecDBClient(6334)
    with pytest.raises(ValueError, match="timeout"):
        VecDBClient(timeout=0)
    with pytest.raises(ValueError, match="timeout"):
        VecDBClient(timeout=math.nan)
    with pytest.raises(ValueError, match="pool_size"):
        VecDBClient(pool_size=0)


# ---- Input that the client refuses -------------------------------------------------------------------------

P = {"id": 1, "vector": [1.0, 2.0]}


@pytest.mark.parametrize(
    "points, kind, says",
    [
        ("abc", TypeError, "vectors: a list"),
        (P, TypeError, "vectors: a list"),
        (5, TypeError, "vectors: a list"),
        ([P, 5], TypeError, r"vectors\[1\]: a dict"),
        ([{**P, "vektor": 1}], ValueError, r"vectors\[0\]: unknown key 'vektor'"),
        ([{"id": 1}], ValueError, r"vectors\[0\]: 'vector' is missing"),
        ([{"vector": [1.0]}], ValueError, r"vectors\[0\]: 'id' is missing"),
        ([{**P, "id": -1}], ValueError, r"vectors\[0\].id: -1 is outside"),
        ([{**P, "id": 2**64}], ValueError, "outside"),
        ([{**P, "id": True}], TypeError, "not bool"),
        ([{**P, "id": 1.0}], TypeError, "not float"),
        ([{**P, "id": b"x"}], TypeError, "not bytes"),
        ([{**P, "id": ""}], ValueError, "0 bytes"),
        ([{**P, "id": "é" * 128}], ValueError, "256 bytes"),
        ([{**P, "id": "\ud800"}], ValueError, "surrogate"),
        ([{**P, "vector": []}], ValueError, r"vectors\[0\].vector: empty"),
        ([{**P, "vector": 1.0}], ValueError, "0-dimensional"),
        ([{**P, "vector": [[1.0]]}], ValueError, "2-dimensional"),
        ([{**P, "vector": [[1.0], [1.0, 2.0]]}], ValueError, r"vectors\[0\].vector"),
        ([{**P, "vector": "AAAA"}], TypeError, "numbers are expected"),
        ([{**P, "vector": [1.0, None]}], TypeError, "numbers are expected"),
        ([{**P, "vector": [True]}], TypeError, "numbers are expected"),
        ([{**P, "vector": [1j]}], TypeError, "numbers are expected"),
        ([P, {**P, "vector": [1.0, math.nan]}], ValueError, r"vectors\[1\].vector\[1\]: nan"),
        ([{**P, "vector": [math.inf]}], ValueError, r"vector\[0\]: inf"),
        ([{**P, "vector": [1e39]}], ValueError, r"vector\[0\]: 1e\+39"),
        ([{**P, "metadata": []}], TypeError, r"vectors\[0\].metadata: a dict"),
        ([{**P, "metadata": {1: 2}}], TypeError, "key 1 is no string"),
        ([{**P, "metadata": {"a": math.nan}}], ValueError, r"vectors\[0\].metadata: .*not JSON"),
        ([{**P, "metadata": {"a": object()}}], TypeError, r"vectors\[0\].metadata: a object is no JSON value"),
        ([{**P, "metadata": {"a": "\ud800"}}], ValueError, "surrogate"),
    ],
)
def test_bad_points(fake, client, points, kind, says):
    with pytest.raises(kind, match=says):
        client.upsert("docs", points)
    assert fake.requests == []


@pytest.mark.parametrize(
    "arguments, kind, says",
    [
        ({}, TypeError, "either vectors, or ids and array"),
        ({"vectors": [P], "array": [[1.0]]}, TypeError, "either vectors"),
        ({"vectors": [P], "ids": [1]}, TypeError, "go with array"),
        ({"array": [[1.0]]}, TypeError, "array needs ids"),
        ({"array": [1.0], "ids": [1]}, ValueError, r"array: 1-dimensional \(shape \(1,\)\), 2 expected"),
        ({"array": [[1.0]], "ids": [1, 2]}, ValueError, "ids: 2 given for an array of 1 rows"),
        ({"array": [[1.0]], "ids": "a"}, TypeError, "ids: a list of ids"),
        ({"array": [[1.0], [math.inf]], "ids": [1, 2]}, ValueError, r"array\[1\]\[0\]: inf"),
        ({"array": [[1.0]], "ids": [1], "metadata": []}, ValueError, "metadata: 0 given"),
        ({"array": [[1.0]], "ids": [1], "metadata": [3]}, TypeError, r"metadata\[0\]: a dict"),
        ({"array": np.zeros((2, 0)), "ids": [1, 2]}, ValueError, "array: empty"),
    ],
)
def test_bad_arrays(fake, client, arguments, kind, says):
    with pytest.raises(kind, match=says):
        client.upsert("docs", **arguments)
    assert fake.requests == []


@pytest.mark.parametrize(
    "call, kind, says",
    [
        (lambda c: c.search("docs", [1.0], limit=0), ValueError, "limit: 0"),
        (lambda c: c.search("docs", [1.0], limit=1.5), TypeError, "limit"),
        (lambda c: c.search("docs", [1.0], limit=True), TypeError, "limit"),
        (lambda c: c.search("docs", [math.nan]), ValueError, r"vector\[0\]"),
        (lambda c: c.search("docs", [1.0], filter="x"), TypeError, "filter: a dict"),
        (lambda c: c.search("docs", [1.0], filter={"a": {1, 2}}), TypeError, "filter: a set"),
        (lambda c: c.count("docs", filter=[]), TypeError, "filter: a dict"),
        (lambda c: c.count(""), ValueError, "collection: empty"),
        (lambda c: c.count(".."), ValueError, "collection"),
        (lambda c: c.count("\ud800"), ValueError, "collection"),
        (lambda c: c.count(None), TypeError, "collection: a string"),
        (lambda c: c.get("docs", "abc"), TypeError, "ids: a list"),
        (lambda c: c.get("docs", [1, None]), TypeError, r"ids\[1\]"),
        (lambda c: c.delete("docs", 5), TypeError, "ids: a list"),
        (lambda c: c.create_collection("x", 0), ValueError, "dimension: 0"),
        (lambda c: c.create_collection("x", "3"), TypeError, "dimension"),
        (lambda c: c.create_collection(5, 3), TypeError, "name"),
        (lambda c: c.create_collection("x", 3, None), TypeError, "metric"),
        (lambda c: c.create_collection("x", 3, index_config=[]), TypeError, "index_config"),
        (lambda c: c.create_collection("x", 3, element=3), TypeError, "element"),
        (lambda c: c.create_collection("x", 3, index=3), TypeError, "index: a dict"),
        (lambda c: c.create_collection("x", 3, index={"m": {1}}), TypeError, "index_config: a set"),
        (lambda c: c.create_collection("x", 3, index="flat", index_config={}), TypeError, "index_config"),
        (lambda c: c.set_index("docs", None), TypeError, "index: a dict"),
        (lambda c: c.set_index("docs", {"m": {1}}), TypeError, "index: a set"),
        (lambda c: c.build_index(""), ValueError, "collection: empty"),
        (lambda c: c.search("docs", [1.0], ef=0), ValueError, "ef: 0"),
        (lambda c: c.search("docs", [1.0], ef=1.5), TypeError, "ef: a whole number"),
        (lambda c: c.search("docs", [1.0], target_recall=1.5), ValueError, r"target_recall: 1\.5"),
        (lambda c: c.search("docs", [1.0], target_recall=0), ValueError, "target_recall: 0"),
        (lambda c: c.search("docs", [1.0], target_recall=math.nan), ValueError, "target_recall: nan"),
        (lambda c: c.search("docs", [1.0], target_recall="0.9"), TypeError, "target_recall: a number"),
        (lambda c: c.search("docs", [1.0], target_recall=True), TypeError, "target_recall: a number"),
        (lambda c: c.search("docs", [1.0], target_recall=0.9, ef=7), TypeError, "exclude"),
        (lambda c: c.delete_collection(""), ValueError, "name: empty"),
    ],
)
def test_bad_arguments(fake, client, call, kind, says):
    with pytest.raises(kind, match=says):
        call(client)
    assert fake.requests == []


def test_with_an_array_nothing_is_sent_before_all_is_checked(fake, client):
    array = np.ones((20_000, 1), np.float32)
    array[19_999, 0] = np.nan
    with pytest.raises(ValueError, match=r"array\[19999\]\[0\]"):
        client.upsert("docs", ids=range(20_000), array=array)
    with pytest.raises(ValueError, match=r"ids\[19999\]"):
        client.upsert("docs", ids=[*range(19_999), -1], array=np.ones((20_000, 1)))
    assert fake.requests == []
