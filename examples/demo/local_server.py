"""A vecdb-server of our own on a free port: started, killed, started again, and never left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0
HTTP_LINE = re.compile(r"http://127\.0\.0\.1:(\d+)\s*$", re.MULTILINE)


@contextmanager
def signals_held_back() -> Iterator[None]:
    """SIGINT and SIGTERM take effect at the end of the block: one that broke into the making of a process would
    leave it running with nobody who knows its id."""
    held: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda got, _: held.append(got)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)
        for number in held:
            os.kill(os.getpid(), number)


class ServerFailed(Exception):
    """vecdb-server did not start or stop as it should; the message has its own last words."""


class LocalServer:
    def __init__(self, program: Path, data: Path, log: Path) -> None:
        self.program, self.data, self.log = program, data, log
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.start_seconds = 0.0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns when the server has printed its banner: it is open and serves."""
        if not self.program.is_file():
            raise ServerFailed(f"{self.program} is not there; build it first (make build)")
        started = time.monotonic()
        command = [str(self.program), "--data", str(self.data), "--port", "0", "--metrics-port", "0"]
        with open(self.log, "wb") as log, signals_held_back():
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while True:
            found = HTTP_LINE.search(self.log_text())
            if found:
                self.port = int(found.group(1))
                self.start_seconds = time.monotonic() - started
                return
            if self.process.poll() is not None:
                code, self.process = self.process.returncode, None
                raise ServerFailed(f"vecdb-server ended with exit status {code}: {self.last_words()}")
            if time.monotonic() - started > START_TIMEOUT_S:
                raise ServerFailed(
                    f"vecdb-server was not ready after {START_TIMEOUT_S:.0f} s: {self.last_words()}"
                )
            time.sleep(0.005)

    def kill(self) -> None:
        """kill -9: no chance to write anything more."""
        process = self._running()
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.process = None

    def stop(self) -> None:
        """SIGTERM; the server finishes what runs and exits with 0."""
        process = self._running()
        process.terminate()
        try:
            code = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise ServerFailed(f"vecdb-server did not stop within {STOP_TIMEOUT_S:.0f} s") from None
        self.process = None
        if code != 0:
            raise ServerFailed(f"vecdb-server stopped with exit status {code}: {self.last_words()}")

    def clean_up(self) -> None:
        """For the way out, whatever happened."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def last_words(self) -> str:
        lines = self.log_text().strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise ServerFailed("vecdb-server is not running")
        return self.process
