"""One server's HTTP connections: a pool, timeouts, and errors turned into this package's own.

Retries: a request is sent again only when it is a read and the connection could not be made at all, so that no
server ever sees a request twice because of this client.

Threads: shared; any number of threads may call request() at once, each takes a connection from the pool.
"""

from __future__ import annotations

import math
import time
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    EmptyPoolError,
    HTTPError,
    NewConnectionError,
    ReadTimeoutError,
)

from .errors import ConnectionFailed, from_answer

DEFAULT_PORT = 6334
RETRY_WAITS_S = (0.05, 0.2)


class Unset:
    """The type of UNSET, which is an argument's default where None means something."""


UNSET = Unset()


def parse_address(address: str) -> tuple[str, str, int, str]:
    """An address ("localhost:6334", or a URL) as (scheme, host, port, path prefix); a bare host has port 6334."""
    if not isinstance(address, str):
        raise TypeError(f"address: a string such as 'localhost:6334' is expected, not {type(address).__name__}")
    bare = "://" not in address
    try:
        parts = urlsplit(f"http://{address}" if bare else address)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"address: {address!r}: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"address: {address!r}: the scheme must be http or https")
    if not parts.hostname:
        raise ValueError(f"address: {address!r} names no host")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"address: {address!r}: only scheme, host, port and path may stand in it")
    if port is None:
        port = DEFAULT_PORT if bare else 443 if parts.scheme == "https" else 80
    return parts.scheme, parts.hostname, port, parts.path.rstrip("/")


class Transport:
    def __init__(self, address: str, timeout: float, pool_size: int) -> None:
        scheme, host, port, self._prefix = parse_address(address)
        if not timeout > 0:
            raise ValueError(f"timeout: {timeout} seconds; it must be more than 0")
        if pool_size < 1:
            raise ValueError(f"pool_size: {pool_size}; at least 1 is needed")
        self.url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{self._prefix}"
        kind = urllib3.HTTPSConnectionPool if scheme == "https" else urllib3.HTTPConnectionPool
        self._timeout = timeout
        self._pool = kind(
            host, port, maxsize=pool_size, block=True, timeout=urllib3.Timeout(timeout), retries=False
        )
        self._closed = False

    def close(self) -> None:
        self._closed = True
        self._pool.close()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        read: bool,
        answer_within: float | None | Unset = UNSET,
    ) -> bytes:
        """The body of a successful answer. `read`: the request changes nothing, so it may be tried again.
        `answer_within`: seconds, instead of the client's own; None: without end."""
        status, answer = self.exchange(method, path, body, read=read, answer_within=answer_within)
        if not 200 <= status < 300:
            raise from_answer(status, answer)
        return answer

    def exchange(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        read: bool,
        answer_within: float | None | Unset = UNSET,
    ) -> tuple[int, bytes]:
        """Status and body of whatever answer comes."""
        seconds = self._timeout if isinstance(answer_within, Unset) else answer_within
        for wait in RETRY_WAITS_S if read else ():
            try:
                return self._once(method, path, body, seconds)
            except ConnectionFailed as error:
                if error.maybe_sent or self._closed:
                    raise
                time.sleep(wait)
        return self._once(method, path, body, seconds)

    def _once(self, method: str, path: str, body: bytes | None, seconds: float | None) -> tuple[int, bytes]:
        if self._closed:
            raise ConnectionFailed("the client is closed", maybe_sent=False)
        headers: dict[str, Any] = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            answer = self._pool.urlopen(
                method,
                self._prefix + path,
                body=body,
                headers=headers,
                redirect=False,
                timeout=urllib3.Timeout(connect=self._timeout, read=seconds),
                pool_timeout=math.ceil(self._timeout),
            )
            return answer.status, answer.data
        except (NewConnectionError, ConnectTimeoutError, EmptyPoolError) as error:
            raise ConnectionFailed(f"{self.url}: {_reason(error)}", maybe_sent=False) from error
        except ReadTimeoutError as error:
            raise ConnectionFailed(
                f"{self.url}: no answer within {seconds or 0:g} s", maybe_sent=True
            ) from error
        except (HTTPError, OSError) as error:
            raise ConnectionFailed(f"{self.url}: {_reason(error)}", maybe_sent=True) from error


def _reason(error: BaseException) -> str:
    """The innermost error's words: urllib3 wraps the system's error, with object addresses in the text."""
    inner = error.__cause__ or error.__context__
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    if isinstance(error, EmptyPoolError):
        return "all connections of the pool are in use"
    if isinstance(error, ConnectTimeoutError):
        return "connecting timed out"
    return str(error)
