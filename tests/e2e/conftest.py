"""Fixtures of the end-to-end tests: real servers on temporary data directories, cleaned up whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from vecdb import VecDBClient

from server_process import SERVER, Server


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    setattr(item, f"report_{call.when}", outcome.get_result())


@pytest.fixture
def vecdb_server(request, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """A factory: vecdb_server(data_dir=..., port=0, metrics_port=0) makes a Server, not yet started."""
    assert SERVER.is_file(), f"{SERVER} is missing: build it, or set VECDB_BIN_DIR"
    servers: list[Server] = []

    def make(data_dir: Path | None = None, **options) -> Server:
        server = Server(data_dir or tmp_path / f"data{len(servers)}", **options)
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.clean_up()
    report = getattr(request.node, "report_call", None)
    if report is not None and report.failed:
        for server in servers:
            print(f"--- the server on {server.data_dir} said:\n{server.log_text()[-8000:]}")


@pytest.fixture
def server(vecdb_server) -> Iterator[Server]:
    """A started server; at the end of a test that left it running it must stop with exit code 0."""
    running = vecdb_server().start()
    yield running
    if running.process is not None:
        running.stop()


@pytest.fixture
def client(server: Server) -> Iterator[VecDBClient]:
    with server.client() as client:
        yield client
