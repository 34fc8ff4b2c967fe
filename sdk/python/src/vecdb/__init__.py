"""Client for the VecDB vector database.

    from vecdb import VecDBClient

    with VecDBClient("localhost:6334") as db:
        db.create_collection(name="docs", dimension=2)
        db.upsert(collection="docs", vectors=[{"id": 1, "vector": [0.1, 0.2], "metadata": {"lang": "en"}}])
        for hit in db.search(collection="docs", vector=[0.1, 0.2], limit=5):
            print(hit.id, hit.score, hit.metadata)
"""

from .client import VecDBClient
from .errors import (
    AlreadyExists,
    ConnectionFailed,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    ServerError,
    Unavailable,
    VecDBError,
)
from .results import (
    CollectionInfo,
    Explain,
    IndexStatus,
    Point,
    SearchHit,
    SearchResult,
    ServerVersion,
    Snapshot,
    WriteResult,
)

__version__ = "0.2.0"

__all__ = [
    "AlreadyExists",
    "CollectionInfo",
    "ConnectionFailed",
    "Explain",
    "IndexStatus",
    "InvalidArgument",
    "LimitExceeded",
    "NotFound",
    "Point",
    "SearchHit",
    "SearchResult",
    "ServerError",
    "ServerVersion",
    "Snapshot",
    "Unavailable",
    "VecDBClient",
    "VecDBError",
    "WriteResult",
]
