"""What can go wrong between this client and a server, as exceptions.

Input that the client itself can tell to be wrong raises ValueError or TypeError before anything is sent.
"""

from __future__ import annotations

import json


class VecDBError(Exception):
    """Base of all errors of this package.

    status: the HTTP status, 0 when no answer came. code: the server's word for it ("invalid", "not_found", ...).
    detail: one line that names field, value and limit. points_written: when a call of several requests (a very
    large upsert or delete) failed half-way, the number of points that its earlier requests had written.
    """

    def __init__(self, detail: str, *, status: int = 0, code: str = "") -> None:
        super().__init__(f"{detail} ({code}, HTTP {status})" if status else detail)
        self.detail = detail
        self.status = status
        self.code = code
        self.points_written = 0


class InvalidArgument(VecDBError):
    """The request breaks a rule (400, 405), or asks for what this version of the server does not do (501)."""


class NotFound(VecDBError):
    """No such collection, point or route (404)."""


class AlreadyExists(VecDBError):
    """A collection of that name is there (409)."""


class LimitExceeded(VecDBError):
    """Past a documented limit (413, 431)."""


class Unavailable(VecDBError):
    """The server cannot do it now: read-only, disk full, out of memory, busy (503). Nothing was acknowledged."""


class ServerError(VecDBError):
    """The server's disk failed, damage was found, or the answer makes no sense (500)."""


class ConnectionFailed(VecDBError):
    """No answer: refused, reset, timed out.

    maybe_sent is False when the request cannot have reached the server. When it is True, a write may have been
    carried out or not; upserts and deletes by id can simply be sent again.
    """

    def __init__(self, detail: str, *, maybe_sent: bool) -> None:
        super().__init__(detail)
        self.maybe_sent = maybe_sent


_BY_CODE: dict[str, type[VecDBError]] = {
    "invalid": InvalidArgument,
    "unsupported": InvalidArgument,
    "not_found": NotFound,
    "exists": AlreadyExists,
    "limit": LimitExceeded,
    "read_only": Unavailable,
    "no_space": Unavailable,
    "no_memory": Unavailable,
    "busy": Unavailable,
    "io": ServerError,
    "corrupt": ServerError,
}
_BY_STATUS: dict[int, type[VecDBError]] = {
    404: NotFound,
    409: AlreadyExists,
    413: LimitExceeded,
    431: LimitExceeded,
    501: InvalidArgument,
    503: Unavailable,
}


def from_answer(status: int, body: bytes) -> VecDBError:
    """The exception for an HTTP answer that is no success, whether or not its body is problem+json."""
    code = ""
    detail: str | None = None
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if isinstance(problem, dict):
        code = str(problem.get("code") or "")
        detail = problem.get("detail") or problem.get("title")
    if not isinstance(detail, str):
        start = body[:200].decode("utf-8", errors="replace").strip()
        detail = f"HTTP {status} without a description" + (f": {start}" if start else "")
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status)
    if kind is None:
        kind = ServerError if status >= 500 else InvalidArgument if status >= 400 else VecDBError
    return kind(detail, status=status, code=code or "unknown")
