"""Between Python values and the bytes of the HTTP API: checks input, encodes it, decodes answers.

Vectors travel as base64 of little-endian 32-bit floats: exact to the bit, smaller and faster than decimals.
Every check names the argument and the value, as in "vectors[3].vector: ...".
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any, Callable

import numpy as np
import numpy.typing as npt

from .errors import ServerError
from .results import (
    CollectionInfo,
    Explain,
    IndexStatus,
    Point,
    PointId,
    SearchHit,
    SearchResult,
    Snapshot,
    Vector,
)

POINTS_PER_REQUEST = 10_000  # the server's limit for one batch
BYTES_PER_REQUEST = 32 << 20  # half of the server's limit for a body
ID_BYTES_MAX = 255

# ---- JSON out ---------------------------------------------------------------------------------------------


def _numpy_value(value: Any) -> Any:
    if isinstance(value, (np.bool_, np.integer, np.floating)):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} is no JSON value")


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_numpy_value)


def encode_json(name: str, value: Any) -> bytes:
    """`value` as compact JSON in UTF-8; errors name the argument."""
    try:
        return _encoder.encode(value).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{name}: a string in it is not valid Unicode (half of a surrogate pair)") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    except RecursionError:
        raise ValueError(f"{name}: nested too deeply") from None


# ---- Ids, vectors, metadata in ---------------------------------------------------------------------------


def check_id(name: str, value: Any) -> PointId:
    if isinstance(value, str):
        try:
            size = len(value.encode("utf-8"))
        except UnicodeEncodeError:
            raise ValueError(f"{name}: {value!r} is not valid Unicode (half of a surrogate pair)") from None
        if not 1 <= size <= ID_BYTES_MAX:
            raise ValueError(f"{name}: {size} bytes as UTF-8, 1 to {ID_BYTES_MAX} are allowed")
        return value
    if isinstance(value, Integral) and not isinstance(value, (bool, np.bool_)):
        number = int(value)
        if not 0 <= number < 2**64:
            raise ValueError(f"{name}: {number} is outside 0..{2**64 - 1}")
        return number
    raise TypeError(f"{name}: an unsigned integer or a string is expected, not {type(value).__name__}")


def check_ids(name: str, values: Any) -> list[PointId]:
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise TypeError(f"{name}: a list of ids is expected, not one {type(values).__name__}")
    return [check_id(f"{name}[{i}]", value) for i, value in enumerate(values)]


def check_floats(name: str, values: Any, dimensions: int) -> npt.NDArray[np.float32]:
    """`values` as a contiguous float32 array of 1 or 2 dimensions, all finite."""
    try:
        given = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from None
    if given.size and given.dtype.kind not in "fiu":
        raise TypeError(f"{name}: numbers are expected, not {given.dtype}")
    if given.ndim != dimensions:
        raise ValueError(f"{name}: {given.ndim}-dimensional (shape {given.shape}), {dimensions} expected")
    if given.shape[-1] == 0:
        raise ValueError(f"{name}: empty")
    with np.errstate(over="ignore"):
        floats = np.ascontiguousarray(given, dtype="<f4")
    if not np.isfinite(floats).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(floats))[0])
        place = name + "".join(f"[{i}]" for i in at)
        raise ValueError(f"{place}: {given[at]} is not a finite 32-bit float")
    return floats


def encode_vector(row: npt.NDArray[np.float32]) -> str:
    return binascii.b2a_base64(row.data, newline=False).decode("ascii")


def check_metadata(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: a dict is expected, not {type(value).__name__}")
    for key in value:
        if not isinstance(key, str):
            raise TypeError(f"{name}: key {key!r} is no string")
    return value if isinstance(value, dict) else dict(value)


# ---- Points ----------------------------------------------------------------------------------------------

_POINT_KEYS = frozenset(("id", "vector", "metadata"))


def encode_point(name: str, value: Any) -> bytes:
    """One point, given as a mapping {"id", "vector", "metadata"} or as a Point."""
    if isinstance(value, Point):
        value = {"id": value.id, "vector": value.vector, "metadata": value.metadata}
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: a dict with id, vector and metadata is expected, not {type(value).__name__}")
    for key in value:
        if key not in _POINT_KEYS:
            raise ValueError(f"{name}: unknown key {key!r}; id, vector and metadata are known")
    for key in ("id", "vector"):
        if value.get(key) is None:
            raise ValueError(f"{name}: {key!r} is missing")
    point_id = check_id(f"{name}.id", value["id"])
    vector = check_floats(f"{name}.vector", value["vector"], 1)
    return encode_row(f"{name}.metadata", point_id, vector, value.get("metadata"))


def encode_row(name: str, point_id: PointId, vector: npt.NDArray[np.float32], metadata: Any) -> bytes:
    """One checked point; `name` is what to call its metadata in errors."""
    point: dict[str, Any] = {"id": point_id, "vector": encode_vector(vector)}
    if metadata is not None:
        point["metadata"] = check_metadata(name, metadata)
    return encode_json(name, point)


def encode_points(vectors: Iterable[Any]) -> Iterator[bytes]:
    for i, value in enumerate(vectors):
        yield encode_point(f"vectors[{i}]", value)


def encode_array(ids: Any, array: Any, metadata: Sequence[Any] | None) -> Iterator[bytes]:
    """Rows of a 2-d array with their ids. Ids and numbers are all checked before the first point comes out."""
    rows = check_floats("array", array, 2)
    checked = check_ids("ids", ids)
    if len(checked) != len(rows):
        raise ValueError(f"ids: {len(checked)} given for an array of {len(rows)} rows")
    if metadata is not None and len(metadata) != len(rows):
        raise ValueError(f"metadata: {len(metadata)} given for an array of {len(rows)} rows")

    def encoded() -> Iterator[bytes]:
        for i, point_id in enumerate(checked):
            yield encode_row(f"metadata[{i}]", point_id, rows[i], None if metadata is None else metadata[i])

    return encoded()


def request_bodies(points: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Groups encoded points into upsert bodies within both limits: (points, body)."""
    group: list[bytes] = []
    size = 0
    for point in points:
        if group and (len(group) == POINTS_PER_REQUEST or size + len(point) > BYTES_PER_REQUEST):
            yield len(group), _points_body(group)
            group, size = [], 0
        group.append(point)
        size += len(point) + 1
    if group:
        yield len(group), _points_body(group)


def _points_body(group: list[bytes]) -> bytes:
    return b'{"points":[' + b",".join(group) + b"]}"


# ---- Answers ---------------------------------------------------------------------------------------------


def decode_json(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise ServerError(f"the answer is not JSON: {error}") from None
    if not isinstance(answer, dict):
        raise ServerError(f"the answer is no JSON object but {type(answer).__name__}")
    return answer


def answer_field(answer: Mapping[str, Any], name: str) -> Any:
    if name not in answer:
        raise ServerError(f"the answer lacks {name!r}")
    return answer[name]


def decode_vector(text: Any) -> Vector | None:
    if text is None:
        return None
    if isinstance(text, list):
        vector = np.asarray(text, dtype=np.float32)
    else:
        try:
            vector = np.frombuffer(binascii.a2b_base64(text), dtype="<f4").astype(np.float32, copy=False)
        except (TypeError, ValueError) as error:
            raise ServerError(f"a vector of the answer is not base64 of 32-bit floats: {error}") from None
    vector.flags.writeable = False
    return vector


def decode_list(answer: Mapping[str, Any], name: str, decode: Callable[[Mapping[str, Any]], Any]) -> list[Any]:
    items = answer_field(answer, name)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ServerError(f"{name!r} of the answer is no list of objects")
    return [decode(item) for item in items]


def decode_index_status(answer: Any) -> IndexStatus:
    """Of a server that knows of no graphs: all zero."""
    if not isinstance(answer, dict):
        return IndexStatus()
    recall = answer.get("shadow_recall")
    return IndexStatus(
        rows=int(answer.get("rows", 0)),
        rows_waiting=int(answer.get("rows_waiting", 0)),
        memory_bytes=int(answer.get("memory_bytes", 0)),
        file_bytes=int(answer.get("file_bytes", 0)),
        ef_default=int(answer.get("ef_default", 0)),
        building=float(answer.get("building", 0.0)),
        builds=int(answer.get("builds", 0)),
        loads=int(answer.get("loads", 0)),
        build_failures=int(answer.get("build_failures", 0)),
        build_seconds=float(answer.get("build_seconds", 0.0)),
        shadow_queries=int(answer.get("shadow_queries", 0)),
        shadow_recall=None if recall is None else float(recall),
    )


def decode_info(answer: Mapping[str, Any]) -> CollectionInfo:
    return CollectionInfo(
        name=answer_field(answer, "name"),
        dimension=answer_field(answer, "dimension"),
        metric=answer_field(answer, "metric"),
        index_config=answer.get("index_config") or {},
        count=answer.get("count", 0),
        last_seq=answer.get("last_seq", 0),
        memory_bytes=answer.get("memory_bytes", 0),
        log_bytes=answer.get("log_bytes", 0),
        segments=answer.get("segments", 0),
        segment_rows=answer.get("segment_rows", 0),
        segment_dead=answer.get("segment_dead", 0),
        segment_bytes=answer.get("segment_bytes", 0),
        checkpoint_seq=answer.get("checkpoint_seq", 0),
        segment_live_bytes=answer.get("segment_live_bytes", 0),
        compaction_debt_bytes=answer.get("compaction_debt_bytes", 0),
        element=answer.get("element", "f32"),
        index=decode_index_status(answer.get("index")),
    )


def decode_snapshot(answer: Mapping[str, Any]) -> Snapshot:
    return Snapshot(
        name=answer_field(answer, "name"),
        seq=answer.get("seq", 0),
        created_us=answer.get("created_us", 0),
        points=answer.get("points", 0),
        bytes=answer.get("bytes", 0),
    )


def decode_point(answer: Mapping[str, Any]) -> Point:
    return Point(answer_field(answer, "id"), answer.get("metadata"), decode_vector(answer.get("vector")))


def decode_hit(answer: Mapping[str, Any]) -> SearchHit:
    score = answer_field(answer, "score")
    if not isinstance(score, (int, float)):
        raise ServerError(f"the score {score!r} of the answer is no number")
    return SearchHit(
        id=answer_field(answer, "id"),
        score=float(score),
        metadata=answer.get("metadata"),
        vector=decode_vector(answer.get("vector")),
    )


def decode_explain(answer: Any) -> Explain | None:
    if not isinstance(answer, dict):
        return None
    return Explain(
        plan=str(answer.get("plan", "")),
        rows=int(answer.get("rows", 0)),
        rows_allowed=int(answer.get("rows_allowed", 0)),
        distances_computed=int(answer.get("distances_computed", 0)),
        filter_us=float(answer.get("filter_us", 0.0)),
        search_us=float(answer.get("search_us", 0.0)),
        total_us=float(answer.get("total_us", 0.0)),
        rows_indexed=int(answer.get("rows_indexed", 0)),
        ef=int(answer.get("ef", 0)),
    )


def decode_search(answer: Mapping[str, Any]) -> SearchResult:
    return SearchResult(tuple(decode_list(answer, "results", decode_hit)), decode_explain(answer.get("explain")))
