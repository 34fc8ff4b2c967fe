from __future__ import annotations

import pytest
from fake_server import FakeServer
from vecdb import VecDBClient


@pytest.fixture
def fake():
    server = FakeServer()
    yield server
    server.close()


@pytest.fixture
def client(fake):
    with VecDBClient(fake.url, timeout=5) as client:
        yield client
