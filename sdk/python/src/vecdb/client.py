"""VecDBClient: the HTTP API of a VecDB server as Python methods. The contract is docs/api.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Callable
from urllib.parse import quote

import numpy.typing as npt

from . import wire
from .errors import VecDBError
from .results import CollectionInfo, Point, PointId, SearchResult, ServerVersion, Snapshot, WriteResult
from .transport import Transport


class VecDBClient:
    """A connection pool to one server; share one client between any number of threads.

    address: "host", "host:port" (port 6334 unless given) or a URL, "http://host:port/prefix".
    timeout: seconds to wait for a connection, and for each answer.
    pool_size: connections open at most; further calls wait for a free one.

    Errors of the server and the connection are subclasses of VecDBError; input that is wrong whatever the
    server says raises ValueError or TypeError, naming the argument. A read is tried again, twice, when no
    connection could be made; nothing else is ever sent twice by the client itself. All writes name their points
    by id, so sending a write again after a ConnectionFailed is safe.
    """

    def __init__(self, address: str = "localhost:6334", *, timeout: float = 30.0, pool_size: int = 8) -> None:
        self._transport = Transport(address, timeout, pool_size)

    @property
    def url(self) -> str:
        return self._transport.url

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> VecDBClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"VecDBClient({self.url!r})"

    # ---- Collections --------------------------------------------------------------------------------------

    def create_collection(
        self,
        name: str,
        dimension: int,
        metric: str = "cosine",
        index_config: Mapping[str, Any] | None = None,
        element: str | None = None,
        *,
        index: Mapping[str, Any] | str | None = None,
    ) -> CollectionInfo:
        """Creates a collection; it is on disk when this returns. metric: "l2", "cosine", "dot" or "l1".

        index: how searches find neighbours, as in {"type": "hnsw", "m": 16, "ef_construction": 200}, or just
        "hnsw". Types: "qgraph" (the default, but for l1: fast and approximate), "hnsw" (approximate, all metrics)
        and "flat" (exact). Further members: target_recall (0.98 unless given) or ef_search of searches that name
        neither, scan_below (memory and segments of fewer rows, 4,096 unless given, are scanned exactly, so small
        collections are); of qgraph, code_bits, or compact: True for a third of its memory and searches about
        half as fast. index_config is its other name.

        element: what is kept of each number of a vector: "f32" (the server's default), "f16" (half the size;
        -65504 to 65504, rounded to the nearest when a point comes in), "u8" or "i8" (a quarter; whole numbers
        of 0 to 255 or -128 to 127, anything else is refused). Vectors are float32 in requests and answers all
        the same, and a search's vector is never rounded.
        """
        body: dict[str, Any] = {
            "name": _text("name", name),
            "dimension": _count("dimension", dimension),
            "metric": _text("metric", metric),
        }
        if index is not None and index_config is not None:
            raise TypeError("create_collection: index and index_config are the same; give one of them")
        if index is not None:
            body["index_config"] = _index("index", index)
        elif index_config is not None:
            body["index_config"] = _mapping("index_config", index_config)
        if element is not None:
            body["element"] = _text("element", element)
        return wire.decode_info(self._post("/v1/collections", wire.encode_json("index_config", body), read=False))

    def list_collections(self) -> list[CollectionInfo]:
        """All collections in name order."""
        return wire.decode_list(self._get("/v1/collections"), "collections", wire.decode_info)

    def get_collection(self, name: str) -> CollectionInfo:
        return wire.decode_info(self._get(_path("name", name)))

    def delete_collection(self, name: str) -> None:
        """Removes a collection with all its points; NotFound when it is not there."""
        self._transport.request("DELETE", _path("name", name), read=False)

    def set_index(self, collection: str, index: Mapping[str, Any] | str) -> CollectionInfo:
        """Replaces the index's configuration (see create_collection; without "type" the type stays). It is on
        disk when this returns; what the change makes due is built in the background, while searches and writes
        go on."""
        body = wire.encode_json("index", _index("index", index))
        return wire.decode_info(self._exchange("PUT", _path("collection", collection) + "/index", body))

    def build_index(self, collection: str, *, timeout: float | None = None) -> CollectionInfo:
        """Waits until all graphs that are due are built, which the server does in the background anyway. It can
        take minutes: `timeout` is how many seconds to wait for the answer, None for as long as it takes. A wait
        that ends early (ConnectionFailed) ends no build."""
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout: {timeout} seconds; it must be more than 0")
        path = _path("collection", collection) + "/index/build"
        answer = self._transport.request("POST", path, read=False, answer_within=timeout)
        return wire.decode_info(wire.decode_json(answer))

    # ---- Points -------------------------------------------------------------------------------------------

    def upsert(
        self,
        collection: str,
        vectors: Iterable[Mapping[str, Any] | Point] | None = None,
        *,
        ids: Iterable[PointId] | None = None,
        array: npt.ArrayLike | None = None,
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
    ) -> WriteResult:
        """Writes points; one whose id is there is replaced whole. On disk and visible when this returns.

        Either `vectors`, an iterable of {"id": ..., "vector": ..., "metadata": {...}} (metadata may be left out;
        Point values are taken too), or, faster for many points, `ids` and `array` (one row per id, any numeric
        dtype) with `metadata`, a sequence as long as they are, or None.

        A call of up to 10,000 points and 32 MiB is one request and atomic: all of it is written or nothing. A
        larger call is split into several requests, each of them atomic, sent in order; when a later one fails,
        the earlier ones stand, and the error's points_written says how many points they wrote. Upserts are
        idempotent: sending the whole call again is safe and completes it. With `array`, ids and numbers are
        checked before anything is sent; with `vectors` each request's points are checked before that request.
        Nothing to write is no error.
        """
        if (vectors is None) == (array is None):
            raise TypeError("upsert: give either vectors, or ids and array")
        if vectors is not None:
            if ids is not None or metadata is not None:
                raise TypeError("upsert: ids and metadata go with array, not with vectors")
            if isinstance(vectors, (str, bytes, Mapping)) or not isinstance(vectors, Iterable):
                raise TypeError(f"vectors: a list of points is expected, not one {type(vectors).__name__}")
            points = wire.encode_points(vectors)
        else:
            if ids is None:
                raise TypeError("upsert: array needs ids, one for each row")
            points = wire.encode_array(ids, array, metadata)
        return self._write(_path("collection", collection) + "/points", wire.request_bodies(points), "upserted")

    def delete(self, collection: str, ids: Iterable[PointId]) -> WriteResult:
        """Deletes points by id; ids that are not there are no error. `changed` counts those that were.

        Atomic up to 10,000 ids; more are split into several requests as with upsert.
        """
        path = _path("collection", collection) + "/points/delete"
        return self._write(path, _id_bodies(wire.check_ids("ids", ids), {}), "deleted")

    def get(
        self,
        collection: str,
        ids: Iterable[PointId],
        with_vector: bool = True,
        with_metadata: bool = True,
        snapshot: str | None = None,
    ) -> list[Point]:
        """The points of those ids that are there, in the order asked. Up to 10,000 ids are read as of one moment;
        more are read in several requests. With `snapshot`, all of them as of that one."""
        path = _path("collection", collection) + "/points/get"
        options = {
            "with_vector": bool(with_vector),
            "with_metadata": bool(with_metadata),
            "vector_encoding": "base64",
            **_at(snapshot),
        }
        points: list[Point] = []
        for _, body in _id_bodies(wire.check_ids("ids", ids), options):
            points += wire.decode_list(self._post(path, body, read=True), "points", wire.decode_point)
        return points

    def count(
        self, collection: str, filter: Mapping[str, Any] | None = None, snapshot: str | None = None
    ) -> int:
        """Live points; with a filter (docs/filters.md) those that match; with `snapshot` as of that one."""
        path = _path("collection", collection) + "/count"
        body: dict[str, Any] = dict(_at(snapshot))
        if filter is not None:
            body["filter"] = _mapping("filter", filter)
        if not body:
            return int(wire.answer_field(self._get(path), "count"))
        return int(wire.answer_field(self._post(path, wire.encode_json("filter", body), read=True), "count"))

    def search(
        self,
        collection: str,
        vector: npt.ArrayLike,
        limit: int = 10,
        filter: Mapping[str, Any] | None = None,
        with_vector: bool = False,
        with_metadata: bool = True,
        explain: bool = False,
        snapshot: str | None = None,
        *,
        ef: int | None = None,
        target_recall: float | None = None,
        exact: bool = False,
    ) -> SearchResult:
        """The `limit` nearest points that pass the filter, nearest first, all from one consistent view: the
        present one, or that of `snapshot`.

        Where graphs answer (see create_collection), most of the nearest are found; every score is exact. Say how
        many either by `target_recall`, a share such as 0.95, or by `ef`, the width of the search in candidates;
        neither: as the collection's index says. exact=True measures every point.
        """
        body: dict[str, Any] = {
            "vector": wire.encode_vector(wire.check_floats("vector", vector, 1)),
            "k": _count("limit", limit),
            "with_vector": bool(with_vector),
            "with_metadata": bool(with_metadata),
            "vector_encoding": "base64",
            "explain": bool(explain),
            **_at(snapshot),
            **_effort(ef, target_recall, exact),
        }
        if filter is not None:
            body["filter"] = _mapping("filter", filter)
        path = _path("collection", collection) + "/search"
        return wire.decode_search(self._post(path, wire.encode_json("filter", body), read=True))

    # ---- Snapshots ----------------------------------------------------------------------------------------

    def create_snapshot(self, collection: str, name: str) -> Snapshot:
        """Keeps the collection's present state under a name, on disk when this returns; AlreadyExists when it is
        taken. search, get and count read at it with `snapshot=name`, while writes go on."""
        body = wire.encode_json("name", {"name": _text("name", name)})
        return wire.decode_snapshot(self._post(_path("collection", collection) + "/snapshots", body, read=False))

    def list_snapshots(self, collection: str) -> list[Snapshot]:
        """The collection's snapshots in name order."""
        answer = self._get(_path("collection", collection) + "/snapshots")
        return wire.decode_list(answer, "snapshots", wire.decode_snapshot)

    def delete_snapshot(self, collection: str, name: str) -> None:
        """Deletes a snapshot; NotFound when it is not there. Reads that run at it go on."""
        path = _path("collection", collection) + "/snapshots/" + _part("name", name)
        self._transport.request("DELETE", path, read=False)

    # ---- The server ---------------------------------------------------------------------------------------

    def health(self) -> bool:
        """True when the process is alive; ConnectionFailed when nobody answers."""
        return 200 <= self._transport.exchange("GET", "/healthz", read=True)[0] < 300

    def ready(self) -> bool:
        """True when it can serve, False while it opens or closes; ConnectionFailed when nobody answers."""
        return 200 <= self._transport.exchange("GET", "/readyz", read=True)[0] < 300

    def version(self) -> ServerVersion:
        answer = self._get("/version")
        return ServerVersion(str(wire.answer_field(answer, "version")), str(answer.get("cpu", "")))

    # ---- Inside -------------------------------------------------------------------------------------------

    def _get(self, path: str) -> dict[str, Any]:
        return wire.decode_json(self._transport.request("GET", path, read=True))

    def _post(self, path: str, body: bytes, *, read: bool) -> dict[str, Any]:
        return wire.decode_json(self._transport.request("POST", path, body, read=read))

    def _exchange(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        return wire.decode_json(self._transport.request(method, path, body, read=False))

    def _write(self, path: str, bodies: Iterable[tuple[int, bytes]], changed_name: str) -> WriteResult:
        seq = changed = requests = written = 0
        try:
            for points, body in bodies:
                answer = self._post(path, body, read=False)
                seq = int(wire.answer_field(answer, "seq"))
                changed += int(wire.answer_field(answer, changed_name))
                requests += 1
                written += points
        except VecDBError as error:
            error.points_written = written
            raise
        return WriteResult(seq, changed, requests)


def _id_bodies(ids: list[PointId], options: Mapping[str, Any]) -> Iterator[tuple[int, bytes]]:
    for start in range(0, len(ids), wire.POINTS_PER_REQUEST):
        part = ids[start : start + wire.POINTS_PER_REQUEST]
        yield len(part), wire.encode_json("ids", {"ids": part, **options})


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name}: a string is expected, not {type(value).__name__}")
    return value


def _count(name: str, value: Any) -> int:
    """A whole number from 1; the upper limits are the server's to tell."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name}: a whole number is expected, not {type(value).__name__}")
    to_int: Callable[[], int] = value.__index__
    number = to_int()
    if number < 1:
        raise ValueError(f"{name}: {number}; at least 1 is needed")
    return number


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: a dict is expected, not {type(value).__name__}")
    return value


def _index(name: str, value: Any) -> Mapping[str, Any]:
    return {"type": value} if isinstance(value, str) else _mapping(name, value)


def _effort(ef: Any, target_recall: Any, exact: Any) -> dict[str, Any]:
    """How far a search in graphs goes: what was asked for."""
    asked: dict[str, Any] = {}
    if ef is not None and target_recall is not None:
        raise TypeError("search: ef and target_recall exclude each other")
    if ef is not None:
        asked["ef"] = _count("ef", ef)
    if target_recall is not None:
        if isinstance(target_recall, bool) or not hasattr(target_recall, "__float__"):
            raise TypeError(f"target_recall: a number is expected, not {type(target_recall).__name__}")
        share = float(target_recall)
        if not 0 < share < 1:
            raise ValueError(f"target_recall: {share}; more than 0 and less than 1 is needed")
        asked["target_recall"] = share
    if exact:
        asked["exact"] = True
    return asked


def _at(snapshot: Any) -> dict[str, str]:
    return {} if snapshot is None else {"snapshot": _text("snapshot", snapshot)}


def _path(name: str, collection: Any) -> str:
    """The path of one collection."""
    return "/v1/collections/" + _part(name, collection)


def _part(argument: str, name: Any) -> str:
    """A name as one part of a path. An empty one would silently address another route."""
    if not _text(argument, name):
        raise ValueError(f"{argument}: empty")
    if name in (".", ".."):
        raise ValueError(f"{argument}: {name!r} names nothing")
    try:
        return quote(name, safe="")
    except UnicodeEncodeError:
        raise ValueError(f"{argument}: {name!r} is not valid Unicode") from None
