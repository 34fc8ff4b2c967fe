"""Graphs in collections through the real server: each kind's recall against the exact answer, deletes and
filters, changes online, restarts, long builds beside other work, and bad input."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from vecdb import ConnectionFailed, InvalidArgument, Unavailable, VecDBClient

POINTS = 20_000
DIMENSION = 16
QUERIES = 50
K = 10
WAIT_S = 120  # sanitizers are slow


@pytest.fixture(scope="module")
def rows():
    """Around 60 middles: graphs of data without any shape say little about those of real data."""
    rng = np.random.default_rng(11)
    middles = rng.normal(size=(60, DIMENSION))
    near = middles[rng.integers(60, size=POINTS)] + 0.6 * rng.normal(size=(POINTS, DIMENSION))
    return near.astype(np.float32)


@pytest.fixture(scope="module")
def queries(rows):
    rng = np.random.default_rng(12)
    near = rows[rng.integers(POINTS, size=QUERIES)] + 0.2 * rng.normal(size=(QUERIES, DIMENSION))
    return near.astype(np.float32)


def fill(client, rows, name="docs", metric="l2", **options):
    """A collection whose rows are all in one segment (which a snapshot sees to)."""
    client.create_collection(name, DIMENSION, metric, **options)
    metadata = [{"even": i % 2 == 0} for i in range(len(rows))]
    client.upsert(name, ids=range(len(rows)), array=rows, metadata=metadata)
    client.create_snapshot(name, "filled")


def recall(client, queries, name="docs", **options):
    """The share of hits as near as the exact answer's last: among equal ones any is right."""
    found = wanted = 0
    sign = -1 if client.get_collection(name).metric == "dot" else 1
    for query in queries:
        exact = client.search(name, query, K, exact=True, with_metadata=False, filter=options.get("filter"))
        some = client.search(name, query, K, with_metadata=False, **options)
        assert len(some) == len(exact) and len(set(some.ids)) == len(some)
        found += sum(sign * score <= sign * exact.scores[-1] for score in some.scores)
        wanted += len(exact)
        # What is found is told as the exact answer tells it.
        told = dict(zip(exact.ids, exact.scores))
        assert all(told.get(hit.id, hit.score) == hit.score for hit in some)
    return found / wanted


def explained(client, query, name="docs", **options):
    return client.search(name, query, K, explain=True, with_metadata=False, **options).explain


def wait_for(condition, what):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


INDEXES = {
    "flat": ({"type": "flat"}, "l2"),
    "hnsw": ({"type": "hnsw", "m": 12, "ef_construction": 80}, "l2"),
    "hnsw of l1": ({"type": "hnsw", "m": 10, "ef_construction": 50}, "l1"),
    "qgraph": (None, "l2"),
    "qgraph of dot": ({"type": "qgraph", "ef_construction": 64}, "dot"),
    "qgraph, compact": ({"type": "qgraph", "compact": True}, "l2"),
    "qgraph, compact, cosine": ({"type": "qgraph", "compact": True}, "cosine"),
}


@pytest.mark.parametrize("case", INDEXES)
def test_recall_of_each_kind(client, rows, queries, case):
    index, metric = INDEXES[case]
    kind = case.split()[0].rstrip(",")
    fill(client, rows, metric=metric, index=index)
    info = client.build_index("docs")
    assert info.index_config == (index or {"type": kind})
    assert info.index.rows_waiting == 0 and info.index.building == 0
    explain = explained(client, queries[0])
    assert explain.plan == ("flat scan" if kind == "flat" else kind) and explain.rows == POINTS
    exact = explained(client, queries[0], exact=True)
    assert (exact.plan, exact.rows_indexed, exact.ef) == ("flat scan", 0, 0)
    if kind == "flat":
        assert (explain.rows_indexed, explain.ef, info.index.rows) == (0, 0, 0)
        assert recall(client, queries) == 1.0
        assert recall(client, queries, ef=10) == 1.0  # there is no graph to ask less of
        return
    assert info.index.rows == explain.rows_indexed == POINTS
    assert info.index.memory_bytes > 0 and info.index.file_bytes > 0
    assert explain.ef == info.index.ef_default >= K
    assert explain.distances_computed < POINTS / 4
    assert recall(client, queries) >= 0.95
    assert recall(client, queries, ef=400) >= 0.99
    wide = explained(client, queries[0], target_recall=0.99).ef
    assert explained(client, queries[0], ef=77).ef == 77
    assert wide >= explained(client, queries[0], target_recall=0.9).ef
    assert recall(client, queries, target_recall=0.9) >= 0.85
    even = {"field": "even", "op": "==", "value": True}
    assert recall(client, queries, filter=even) >= 0.95
    assert all(hit.id % 2 == 0 for hit in client.search("docs", queries[1], K, filter=even))
    assert explained(client, queries[0], filter=even).plan.endswith(", filtered")


def test_a_compact_collection(vecdb_server, rows, queries):
    """Beside a plain one with the same points: a graph of less than half of its size, in memory and on disk, as
    good answers; it is read again after a restart, and a change builds the other form."""
    server = vecdb_server().start()
    sizes = {}
    with server.client() as client:
        for name, index in ("plain", {"type": "qgraph"}), ("small", {"type": "qgraph", "compact": True}):
            fill(client, rows, name=name, index=index)
            info = client.build_index(name)
            assert info.index_config == index and info.index.rows == POINTS and info.index.rows_waiting == 0
            sizes[name] = (info.index.memory_bytes, info.index.file_bytes)
            assert explained(client, queries[0], name=name).plan == "qgraph"
            assert recall(client, queries, name=name) >= 0.97
            assert recall(client, queries, name=name, ef=400) >= 0.99
        assert all(small < plain / 2 for small, plain in zip(sizes["small"], sizes["plain"])), sizes
        folders = {name: server.data_dir / "collections" / name / "index" for name in sizes}
        files = {name: sum(path.stat().st_size for path in at.iterdir()) for name, at in folders.items()}
        assert files["small"] < files["plain"] / 2
        # A tenth goes, what replaces it is found; the graph below is built without them.
        client.delete("small", range(0, POINTS, 10))
        assert all(hit.id % 10 for query in queries for hit in client.search("small", query, K))
        assert recall(client, queries, name="small") >= 0.95
        answers = [client.search("small", query, K, ef=100).ids for query in queries]
    server.stop()
    server.start()
    with server.client() as client:
        info = client.build_index("small")
        assert info.index_config == {"type": "qgraph", "compact": True}
        assert (info.index.builds, info.index.loads, info.index.build_failures) == (0, 1, 0)
        assert (info.index.memory_bytes, info.index.file_bytes) == sizes["small"]
        assert [client.search("small", query, K, ef=100).ids for query in queries] == answers
        info = client.set_index("small", {"compact": False})
        assert info.index_config == {"type": "qgraph"}
        info = client.build_index("small")
        assert info.index.builds == 1 and info.index.memory_bytes > 2 * sizes["small"][0]
        assert recall(client, queries, name="small") >= 0.95
        assert client.set_index("small", {"compact": True}).index_config == {"type": "qgraph", "compact": True}
        info = client.build_index("small")
        assert info.index.builds == 2 and info.index.memory_bytes < sizes["plain"][0] / 2
    server.stop()


def test_every_write_is_seen_at_once(client, rows, queries):
    """Before, while and after graphs are there: a point is found once its write was answered, and gone once its
    delete was."""
    client.create_collection("docs", DIMENSION, "l2", index={"type": "hnsw", "m": 8, "ef_construction": 40})
    half = POINTS // 2
    client.upsert("docs", ids=range(half), array=rows[:half])
    for i in range(0, half, half // 20):
        assert client.search("docs", rows[i], 1).ids == [i]
    client.create_snapshot("docs", "half")
    client.upsert("docs", ids=range(half, POINTS), array=rows[half:])
    assert client.search("docs", rows[POINTS - 1], 1).ids == [POINTS - 1]
    client.build_index("docs")
    assert recall(client, queries) >= 0.95
    # The nearest of each query goes, round after round: none ever comes back.
    gone = set()
    for _ in range(3):
        nearest = {client.search("docs", query, 1).ids[0] for query in queries}
        assert not nearest & gone
        client.delete("docs", nearest)
        gone |= nearest
        hits = {hit.id for query in queries for hit in client.search("docs", query, K)}
        assert not hits & gone
    # One that is replaced is found at its new place only.
    client.upsert("docs", ids=[77], array=np.full((1, DIMENSION), 50.0))
    assert client.search("docs", np.full(DIMENSION, 50.0), 1).scores == [0.0]
    assert 77 not in client.search("docs", rows[77], K).ids
    assert recall(client, queries) >= 0.95
    assert client.count("docs") == POINTS - len(gone - {77})


def test_an_index_is_changed_online(client, rows, queries):
    fill(client, rows, index={"type": "flat"})
    assert explained(client, queries[0]).plan == "flat scan"
    info = client.set_index("docs", {"type": "hnsw", "m": 8, "ef_construction": 40, "target_recall": 0.9})
    assert info.index_config == {"type": "hnsw", "m": 8, "ef_construction": 40, "target_recall": 0.9}
    assert len(client.search("docs", queries[0], K)) == K  # whatever is built by now
    info = client.build_index("docs")
    assert info.index.rows == POINTS and explained(client, queries[0]).plan == "hnsw"
    builds = info.index.builds
    # What concerns searches alone builds nothing.
    info = client.set_index("docs", {"type": "hnsw", "m": 8, "ef_construction": 40, "ef_search": 99})
    assert info.index_config == {"type": "hnsw", "m": 8, "ef_construction": 40, "ef_search": 99}
    assert explained(client, queries[0]).ef == 99
    info = client.build_index("docs")
    assert info.index.builds == builds
    # The background does without being asked.
    client.set_index("docs", "qgraph")
    wait_for(lambda: explained(client, queries[0]).plan == "qgraph", "no qgraph was built in the background")
    assert recall(client, queries) >= 0.95
    # The graph of the snapshot, or none: the points are those of then.
    client.delete("docs", range(0, POINTS, 2))
    then = client.search("docs", rows[0], K, snapshot="filled", ef=200)
    assert then.ids[0] == 0 and then.scores[0] == 0
    info = client.set_index("docs", "flat")
    assert info.index_config == {"type": "flat"}
    wait_for(lambda: client.get_collection("docs").index.memory_bytes == 0, "graphs of a flat collection stayed")
    assert recall(client, queries) == 1.0


@pytest.mark.parametrize("kind", ["hnsw", "qgraph"])
def test_a_restart_keeps_the_graphs(vecdb_server, rows, queries, kind):
    server = vecdb_server().start()
    with server.client() as client:
        fill(client, rows, index={"type": kind, "ef_construction": 40, "target_recall": 0.97})
        before = client.build_index("docs")
        assert before.index.builds >= 1
        answers = [client.search("docs", query, K, ef=100).ids for query in queries]
    server.stop()
    server.start()
    with server.client() as client:
        for query, answer in zip(queries[:5], answers):  # with graphs or before they are read
            assert len(set(client.search("docs", query, K, ef=100).ids) & set(answer)) >= K - 2
        after = client.build_index("docs")
        assert after.index_config == before.index_config
        assert after.index.builds == 0 and after.index.loads >= 1 and after.index.build_failures == 0
        assert after.index.rows == POINTS and after.index.rows_waiting == 0
        assert after.index.ef_default == before.index.ef_default
        assert [client.search("docs", query, K, ef=100).ids for query in queries] == answers
    # A killed one has them, too.
    server.kill()
    server.start()
    with server.client() as client:
        info = client.build_index("docs")
        assert info.index.builds == 0 and info.index.rows == POINTS
    server.stop()


def test_a_damaged_graph_is_built_again(vecdb_server, rows, queries):
    server = vecdb_server().start()
    with server.client() as client:
        fill(client, rows, index={"type": "hnsw", "m": 8, "ef_construction": 40})
        client.build_index("docs")
    server.stop()
    (path,) = (server.data_dir / "collections" / "docs" / "index").iterdir()
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    server.start()
    with server.client() as client:
        assert len(client.search("docs", queries[0], K)) == K
        info = client.build_index("docs")
        assert info.index.rows == POINTS and info.index.builds >= 1
        assert recall(client, queries) >= 0.95
    server.stop()


def slow_collection(client, rows):
    """Its graph takes seconds to build, on the fastest machine."""
    fill(client, rows, index={"type": "flat"})
    client.set_index("docs", {"type": "hnsw", "m": 64, "ef_construction": 2000})


def test_a_long_build_holds_up_nobody(vecdb_server, rows, queries, tmp_path):
    """With one thread for all connections, others are answered while a build is waited for."""
    config = tmp_path / "one-thread.yaml"
    config.write_text("threads: 1\n")
    server = vecdb_server(words=("--config", str(config))).start()
    done = threading.Event()
    with server.client() as client:
        slow_collection(client, rows)

        def wait():
            try:
                client.build_index("docs")
            except (Unavailable, ConnectionFailed):
                pass  # the server stops below
            done.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        wait_for(lambda: client.get_collection("docs").index.building > 0 or done.is_set(), "no build began")
        # So many may wait, not more: threads are not for everybody.
        refusals = []

        def wait_too():
            try:
                with server.client() as other:
                    other.build_index("docs")
            except Unavailable as refusal:
                refusals.append(refusal)
            except ConnectionFailed:
                pass

        more = [threading.Thread(target=wait_too) for _ in range(20)]
        for thread in more:
            thread.start()
        wait_for(lambda: len(refusals) >= 5 or done.is_set(), "21 builds are waited for")
        assert {(refusal.status, refusal.code) for refusal in refusals} == {(503, "busy")}
        answered = 0
        while not done.is_set() and answered < 20:
            assert client.count("docs") == POINTS
            assert len(client.search("docs", queries[answered], K)) == K
            answered += 1
        assert answered >= 5, "the build was over before anything could be asked"
        # A stop does not wait for the build either, and is a clean one.
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 30
        for thread in [waiting, *more]:
            thread.join(30)
        assert done.is_set() and not any(thread.is_alive() for thread in more)
    server.start()
    with server.client() as client:
        assert client.count("docs") == POINTS
        assert client.search("docs", rows[5], 1).ids == [5]
    server.stop()


def call(server, method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


BAD_INDEXES = [
    ({"m": 0}, "m", "0 is out of range, 4 to 256"),
    ({"m": 257}, "m", "257 is out of range, 4 to 256"),
    ({"m": -1}, "m", ""),
    ({"m": 16.5}, "m", ""),
    ({"m": "16"}, "m", "expected"),
    ({"ef_construction": 0}, "ef_construction", "0 is out of range"),
    ({"type": "hnsw", "m": 32, "ef_construction": 31}, "ef_construction", "31; allowed are 32..65536"),
    ({"type": "hnsw", "ef_construction": 65537}, "ef_construction", "65537 is out of range, 1 to 65536"),
    ({"type": "qgraph", "ef_construction": 4097}, "ef_construction", "4097; allowed are 16..4096"),
    ({"ef_search": 0}, "ef_search", "0 is out of range, 1 to 65536"),
    ({"ef_search": 65537}, "ef_search", "65537 is out of range, 1 to 65536"),
    ({"type": "qgraph", "code_bits": 65}, "code_bits", "65; allowed are multiples of 64"),
    ({"type": "hnsw", "code_bits": 64}, "code_bits", "64; type hnsw has none"),
    ({"type": "flat", "m": 16}, "m", "16; type flat has none"),
    ({"type": "flat", "ef_construction": 16}, "ef_construction", "16; type flat has none"),
    ({"type": "flat", "code_bits": 64}, "code_bits", "64; type flat has none"),
    ({"type": "flat", "compact": True}, "compact", "1; type flat has none"),
    ({"type": "hnsw", "compact": True}, "compact", "1; type hnsw has none"),
    ({"type": "qgraph", "compact": True, "code_bits": 64}, "code_bits", "64; a compact graph has no codes"),
    ({"type": "qgraph", "compact": 1}, "compact", ""),
    ({"type": "qgraph", "compact": "yes"}, "compact", ""),
    ({"type": "qgraph", "ef_construction": 15}, "ef_construction", "15; allowed are 16..4096"),
    ({"type": "qgraph", "code_bits": 1088}, "code_bits", "1088 is out of range, 64 to 1024"),
    ({"scan_below": 0}, "scan_below", "0 is out of range, 1 to"),
    ({"target_recall": 1.5}, "target_recall", "1.5 is out of range, more than 0 and less than 1"),
    ({"target_recall": 0}, "target_recall", "0 is out of range, more than 0 and less than 1"),
    ({"type": "ivf"}, "type", '"ivf" is none of flat, hnsw, qgraph'),
    ({"type": ""}, "type", '"" is none of flat, hnsw, qgraph'),
    ({"ef": 64}, "ef", "known fields: type, m, ef_construction"),
]


def name_of(value):
    return None if isinstance(value, str) else str(value)


@pytest.mark.parametrize("index, field, says", BAD_INDEXES, ids=name_of)
def test_bad_indexes(server, client, index, field, says):
    """At creation and as a change: 400, with field, value and limit; and nothing is made or changed."""
    status, problem = call(
        server, "POST", "/v1/collections", {"name": "docs", "dimension": 4, "metric": "l2", "index_config": index}
    )
    assert (status, problem["code"]) == (400, "invalid"), problem
    assert field in problem["detail"] and says in problem["detail"] and "index_config" in problem["detail"]
    assert client.list_collections() == []
    client.create_collection("docs", 4, "l2", index="hnsw")
    status, problem = call(server, "PUT", "/v1/collections/docs/index", index)
    assert (status, problem["code"]) == (400, "invalid"), problem
    assert field in problem["detail"] and says in problem["detail"]
    assert client.get_collection("docs").index_config == {"type": "hnsw"}


def test_qgraph_and_l1(server, client):
    body = {"name": "docs", "dimension": 4, "metric": "l1", "index_config": {"type": "qgraph"}}
    status, problem = call(server, "POST", "/v1/collections", body)
    assert (status, problem["code"]) == (400, "invalid")
    assert problem["detail"] == 'index_config.type: "qgraph" does not go with the metric l1; flat and hnsw do'
    assert client.create_collection("docs", 4, "l1").index_config == {"type": "hnsw"}
    with pytest.raises(InvalidArgument, match="l1"):
        client.set_index("docs", "qgraph")
    status, problem = call(server, "GET", "/v1/collections/docs/index")
    assert status == 405
    status, problem = call(server, "POST", "/v1/collections/none/index/build")
    assert (status, problem["code"]) == (404, "not_found")


BAD_SEARCHES = [
    ({"ef": 0}, "ef: 0 is out of range, 1 to 65536"),
    ({"ef": 65537}, "ef: 65537 is out of range, 1 to 65536"),
    ({"ef": 1.5}, "ef: "),
    ({"target_recall": 1.5}, "target_recall: 1.5 is out of range, more than 0 and less than 1"),
    ({"target_recall": 1}, "target_recall: 1 is out of range"),
    ({"target_recall": -0.1}, "target_recall: -0.1 is out of range"),
    ({"target_recall": "0.9"}, "target_recall: "),
    ({"target_recall": 0.9, "ef": 64}, "ef: 64, and target_recall: 0.9; one of the two may be given"),
    ({"exact": 1}, "exact: "),
]


@pytest.mark.parametrize("more, says", BAD_SEARCHES, ids=name_of)
def test_bad_searches(server, client, more, says):
    client.create_collection("docs", 2, "l2")
    status, problem = call(server, "POST", "/v1/collections/docs/search", {"vector": [1, 2], **more})
    assert (status, problem["code"]) == (400, "invalid")
    assert says in problem["detail"]


def test_small_collections_are_exact(client):
    """Fewer rows than scan_below: no graph is built, and explain says so."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(1000, 4)).astype(np.float32)
    client.create_collection("docs", 4, "l2")
    client.upsert("docs", ids=range(1000), array=rows)
    assert client.build_index("docs").index.rows == 0
    assert client.get_collection("docs").index.rows_waiting == 0
    explain = client.search("docs", rows[3], K, explain=True, ef=10).explain
    assert (explain.plan, explain.rows_indexed, explain.ef) == ("flat scan", 0, 0)
    nearest = np.argsort(((rows - rows[3]) ** 2).sum(axis=1), kind="stable")[:K]
    assert client.search("docs", rows[3], K).ids == nearest.tolist()


def test_metrics(vecdb_server, rows, queries):
    server = vecdb_server().start()
    with VecDBClient(server.url) as client:
        fill(client, rows, index={"type": "hnsw", "m": 8, "ef_construction": 40})
        client.build_index("docs")
        for query in queries:
            client.search("docs", query, K)
        with urllib.request.urlopen(server.url + "/metrics", timeout=WAIT_S) as answer:
            lines = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[0] != "#")
        assert int(lines["vecdb_index_rows"]) == POINTS
        assert int(lines["vecdb_index_waiting_rows"]) == 0
        assert int(lines["vecdb_index_memory_bytes"]) == client.get_collection("docs").index.memory_bytes > 0
        assert int(lines["vecdb_index_builds_total"]) >= 1
        assert int(lines["vecdb_index_build_failures_total"]) == 0
        shadows = int(lines["vecdb_shadow_queries_total"])
        shown = float(lines["vecdb_shadow_recall"])
        assert 0 <= shown <= 1 if shadows else shown != shown
    server.stop()
