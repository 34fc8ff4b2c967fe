"""The real vecdb-server as a child process: started, stopped politely, or killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from vecdb import VecDBClient

REPOSITORY = Path(__file__).resolve().parents[2]
BIN_DIR = Path(os.environ.get("VECDB_BIN_DIR") or REPOSITORY / "build" / "release").resolve()
SERVER = BIN_DIR / "vecdb-server"

HTTP_LINE = re.compile(r"http://127\.0\.0\.1:(\d+)\s*$", re.MULTILINE)
START_TIMEOUT_S = 120  # sanitizers are slow
STOP_TIMEOUT_S = 60


class Server:
    """vecdb-server on `data_dir`, on a free port and without a port for metrics unless told otherwise; `words`
    are further options."""

    def __init__(self, data_dir: Path, port: int = 0, metrics_port: int = 0, words: tuple[str, ...] = ()) -> None:
        self.data_dir = data_dir
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self._wanted_port = port
        self._metrics_port = metrics_port
        self._words = words
        self._log = data_dir.with_name(data_dir.name + ".log")
        self._log.touch()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: object) -> VecDBClient:
        return VecDBClient(self.url, **options)

    def command(self) -> list[str]:
        ports = ["--port", str(self._wanted_port), "--metrics-port", str(self._metrics_port)]
        return [str(SERVER), "--data", str(self.data_dir), *ports, *self._words]

    def spawn(self) -> int:
        """Starts the process without waiting for it; returns where its output begins in the log."""
        assert self.process is None, "the server is running already"
        begin = self._log.stat().st_size
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return begin

    def start(self) -> Server:
        begin = self.spawn()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._banner(begin) or not self.is_ready():
            assert self.process is not None
            if self.process.poll() is not None:
                code, self.process = self.process.returncode, None
                raise AssertionError(f"vecdb-server exited with {code} at its start:\n{self.log_text()[-4000:]}")
            assert time.monotonic() < deadline, f"not ready in {START_TIMEOUT_S} s:\n{self.log_text()[-4000:]}"
            time.sleep(0.005)
        return self

    def _banner(self, begin: int) -> bool:
        text = self._log.read_bytes()[begin:].decode("utf-8", errors="replace")
        http = HTTP_LINE.search(text)
        if http:
            self.port = int(http.group(1))
        return http is not None

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(self.url + "/readyz", timeout=10) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        """SIGKILL: nothing more gets out of the process."""
        assert self.process is not None, "the server is not running"
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def stop(self) -> None:
        """SIGTERM; the server must end by itself with exit code 0, also under sanitizers."""
        assert self.process is not None, "the server is not running"
        process, self.process = self.process, None
        process.terminate()
        try:
            code = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"SIGTERM did not stop it in {STOP_TIMEOUT_S} s:\n{self.log_text()}") from None
        if code != 0:
            print(self.log_text())
            raise AssertionError(f"exit code {code} after SIGTERM")

    def clean_up(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def log_text(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")
