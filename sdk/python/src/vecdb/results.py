"""What the client's methods return: immutable values with named fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Union, overload

import numpy as np
import numpy.typing as npt

PointId = Union[int, str]
Metadata = dict[str, Any]
Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class IndexStatus:
    """What graphs a collection has. Rows are versions of points; those in no graph are scanned."""

    rows: int = 0  # in graphs
    rows_waiting: int = 0  # whose graph is due and not built yet
    memory_bytes: int = 0  # of graphs, beyond the rows
    file_bytes: int = 0
    ef_default: int = 0  # width of a search that names neither ef nor target_recall; 0: no graph yet
    building: float = 0.0  # how far the build under way is; 0: none is
    builds: int = 0  # this and what follows: since the server started
    loads: int = 0  # graphs read from disk instead
    build_failures: int = 0
    build_seconds: float = 0.0
    shadow_queries: int = 0  # searches that were measured a second time, exactly
    shadow_recall: float | None = None  # their share of the true nearest; None before the first


@dataclass(frozen=True)
class CollectionInfo:
    name: str
    dimension: int
    metric: str
    index_config: dict[str, Any]
    count: int  # live points
    last_seq: int  # sequence number of the newest write
    memory_bytes: int
    log_bytes: int
    segments: int = 0  # on disk, written by checkpoints
    segment_rows: int = 0  # live and dead
    segment_dead: int = 0  # deleted or replaced, not compacted away yet
    segment_bytes: int = 0
    checkpoint_seq: int = 0  # the segments hold all writes up to it, the log those after
    segment_live_bytes: int = 0  # the share of live rows: segment_bytes / this is the space amplification
    compaction_debt_bytes: int = 0  # that compactions would read now until they have nothing to do
    element: str = "f32"  # what is kept of each number of a vector
    index: IndexStatus = IndexStatus()


@dataclass(frozen=True)
class Snapshot:
    """A collection's state under a name, to read at with `snapshot=`."""

    name: str
    seq: int  # of the last write in it
    created_us: int  # microseconds since 1970
    points: int
    bytes: int  # of its files; shared with the collection until a compaction drops them there


@dataclass(frozen=True)
class WriteResult:
    seq: int  # sequence number of the (last) batch; 0 when nothing was written
    changed: int  # upsert: points written; delete: points that were there
    requests: int = 1  # batches sent, each of them atomic


def _same_vector(a: Vector | None, b: Vector | None) -> bool:
    if a is None or b is None:
        return a is b
    return bool(np.array_equal(a, b))


@dataclass(frozen=True, eq=False)
class Point:
    """A stored point. vector is a read-only float32 array, or None when it was not asked for."""

    id: PointId
    metadata: Metadata | None = None
    vector: Vector | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Point):
            return NotImplemented
        return (self.id, self.metadata) == (other.id, other.metadata) and _same_vector(self.vector, other.vector)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class SearchHit:
    """One answer of a search. score: see the collection's metric (for "dot" higher is nearer, else lower)."""

    id: PointId
    score: float
    metadata: Metadata | None = None
    vector: Vector | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SearchHit):
            return NotImplemented
        mine, theirs = (self.id, self.score, self.metadata), (other.id, other.score, other.metadata)
        return mine == theirs and _same_vector(self.vector, other.vector)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Explain:
    """How a search came to its answer; times as the server measured them."""

    plan: str
    rows: int
    rows_allowed: int
    distances_computed: int
    filter_us: float
    search_us: float
    total_us: float
    rows_indexed: int = 0  # of rows: those that graphs answered for; all others were scanned
    ef: int = 0  # the widest that a graph was searched with; 0: none was


@dataclass(frozen=True)
class SearchResult(Sequence[SearchHit]):
    """The hits, nearest first: iterate, index, or take len() of it."""

    hits: tuple[SearchHit, ...] = field(default=())
    explain: Explain | None = None

    @property
    def ids(self) -> list[PointId]:
        return [hit.id for hit in self.hits]

    @property
    def scores(self) -> list[float]:
        return [hit.score for hit in self.hits]

    def __iter__(self) -> Iterator[SearchHit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    @overload
    def __getitem__(self, index: int) -> SearchHit: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[SearchHit, ...]: ...

    def __getitem__(self, index: int | slice) -> SearchHit | tuple[SearchHit, ...]:
        return self.hits[index]


@dataclass(frozen=True)
class ServerVersion:
    version: str
    cpu: str  # the kernels in use: "scalar", "avx2" or "avx512"
