"""vecdb-server as a program: its options and configuration, the ways in which it refuses to start, and how it stops."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from server_process import REPOSITORY, SERVER, Server

SECONDS = 60


def run(*arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs it to its end: for what must not stay up."""
    return subprocess.run([str(SERVER), *map(str, arguments)], capture_output=True, text=True, timeout=SECONDS,
                          env={**os.environ, **(env or {})}, check=False)


def refused(done: subprocess.CompletedProcess[str], *says: str, code: int = 2) -> None:
    assert done.returncode == code, done
    assert done.stdout == ""
    assert done.stderr.startswith("vecdb-server: ") and done.stderr.count("\n") == 1, done.stderr
    for text in says:
        assert text in done.stderr, done.stderr


class Program:
    """A server started with arguments of the test's choice; `banner` is what it printed until it was ready."""

    def __init__(self, *arguments: str | Path) -> None:
        self.process = subprocess.Popen([str(SERVER), *map(str, arguments)], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self.banner = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.banner += line
            if re.match(r"\s*status\s+ready$", line):
                return
        raise AssertionError(f"it did not start: {self.process.communicate()[1]}")

    def url(self, name: str = "http") -> str:
        found = re.search(rf"^\s*{name}\s+(http://\S+)$", self.banner, re.MULTILINE)
        assert found, self.banner
        return found[1]

    def stop(self, number: int = signal.SIGTERM) -> str:
        """Signals it, expects exit code 0, and returns what it wrote to stderr."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=SECONDS)
        assert self.process.returncode == 0, errors
        return errors


@pytest.fixture
def start() -> Iterator[type[Program]]:
    programs: list[Program] = []

    def make(*arguments: str | Path) -> Program:
        programs.append(Program(*arguments))
        return programs[-1]

    yield make  # type: ignore[misc]
    for program in programs:
        if program.process.poll() is None:
            program.process.kill()
            program.process.communicate()


def fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ---- Options and configuration -----------------------------------------------------------------------------------


def test_help_and_version() -> None:
    shown = run("--help")
    assert shown.returncode == 0 and shown.stderr == ""
    for option in ("--config", "--data", "--host", "--port", "--metrics-port", "--log-level", "--version"):
        assert option in shown.stdout
    version = run("--version")
    assert version.returncode == 0 and re.fullmatch(r"vecdb-server \d+\.\d+\.\d+\n", version.stdout)


@pytest.mark.parametrize("arguments, says", [
    (["--nonsense"], ["--nonsense", "--help"]),
    (["data"], ["data"]),
    (["--port"], ["--port"]),
    (["--port", "65536"], ["--port", "65536", "0 to 65535"]),
    (["--port", "x"], ["--port", "x"]),
    (["--log-level", "loud"], ["loud", "debug"]),
    (["--data", ""], ["data", "empty"]),
    (["--config", "/does/not/exist.yaml"], ["/does/not/exist.yaml", "No such file"]),
    (["--host", "no.such.host.invalid"], ["no.such.host.invalid"]),
    (["--host", "0.0.0.0"], ["0.0.0.0", "allow_unauthenticated: true"]),
    (["--host", "::"], ["allow_unauthenticated: true"]),
])
def test_refused_arguments(arguments: list[str], says: list[str]) -> None:
    refused(run(*arguments), *says)


@pytest.mark.parametrize("text, says", [
    ("port: 1\nprot: 2\n", [":2: ", "prot", "known keys"]),
    ("threads: 1025\n", [":1: ", "threads", "1025", "1024"]),
    ("port: 1\nport: 2\n", [":2: ", "twice"]),
    ("port: [\n", [":"]),
    ("host: 0.0.0.0\nallow_unauthenticated: false\n", ["allow_unauthenticated: true"]),
])
def test_refused_configuration(tmp_path: Path, text: str, says: list[str]) -> None:
    config = tmp_path / "bad.yaml"
    config.write_text(text)
    refused(run("--config", config), *says)


def test_configuration_and_banner(tmp_path: Path, start: type[Program]) -> None:
    config = tmp_path / "server.yaml"
    config.write_text(f"data: {tmp_path / 'from-file'}\nport: 1\nmetrics: off\nthreads: 3\nlog_level: debug\n")
    program = start("--port", "0", "--config", config)  # the option wins, wherever it stands
    for line in (rf"storage\s+{tmp_path / 'from-file'}", r"collections\s+0", r"points\s+0",
                 r"recovery\s+0 batches replayed in [0-9.]+ ms, 0 torn bytes cut", r"kernels\s+(scalar|avx2|avx512)",
                 r"threads\s+3", rf"pid\s+{program.process.pid}", r"status\s+ready"):
        assert re.search(rf"^\s+{line}$", program.banner, re.MULTILINE), (line, program.banner)
    assert "metrics" not in program.banner
    assert fetch(program.url() + "/healthz")[0] == 200
    errors = program.stop()
    assert re.search(r"DEBUG http: GET /healthz 200 [0-9.]+ ms$", errors, re.MULTILINE), errors


def test_sample_configuration(tmp_path: Path, start: type[Program]) -> None:
    sample = REPOSITORY / "examples" / "vecdb-server.yaml"
    program = start("--config", sample, "--data", tmp_path / "d", "--port", "0", "--metrics-port", "0")
    assert fetch(program.url() + "/readyz")[0] == 200
    program.stop()


def test_allow_unauthenticated(tmp_path: Path, start: type[Program]) -> None:
    config = tmp_path / "open.yaml"
    config.write_text("host: 0.0.0.0\nallow_unauthenticated: true\nport: 0\nmetrics: off\n")
    program = start("--config", config, "--data", tmp_path / "d")
    assert program.url().startswith("http://0.0.0.0:")
    program.stop()


def test_recovery_in_the_banner(server: Server, start: type[Program]) -> None:
    for method, path, body in [("POST", "/v1/collections", b'{"name": "a", "dimension": 1, "metric": "l2"}'),
                               ("POST", "/v1/collections/a/points", b'{"points": [{"id": 1, "vector": [1]}]}')]:
        request = urllib.request.Request(server.url + path, data=body, method=method)
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            assert answer.status in (200, 201)
    server.kill()
    program = start("--data", server.data_dir, "--port", "0", "--metrics-port", "0")
    assert re.search(r"collections\s+1\n\s+points\s+1\n\s+recovery\s+1 batches", program.banner), program.banner
    program.stop()


def test_metrics_port(tmp_path: Path, start: type[Program]) -> None:
    port = free_port()
    program = start("--data", tmp_path / "d", "--port", "0", "--metrics-port", str(port))
    base = f"http://127.0.0.1:{port}"
    assert program.url("metrics") == base + "/metrics"
    status, text = fetch(base + "/metrics")
    assert status == 200 and "vecdb_collections 0" in text
    assert fetch(base + "/healthz") == (200, '{"status":"ok"}')
    assert fetch(base + "/readyz")[0] == 200
    for path in ("/v1/collections", "/version"):  # only these three
        assert fetch(base + path)[0] == 404
    program.stop()


# ---- What is in use ----------------------------------------------------------------------------------------------


def test_port_in_use(server: Server, tmp_path: Path) -> None:
    done = run("--data", tmp_path / "other", "--port", str(server.port), "--metrics-port", "0")
    refused(done, f"listen 127.0.0.1:{server.port}: Address already in use", "another server runs there", "--port")
    done = run("--data", tmp_path / "other", "--port", "0", "--metrics-port", str(server.port))
    refused(done, f"listen 127.0.0.1:{server.port}: Address already in use", "--metrics-port")
    assert server.is_ready()


def test_data_directory_in_use(server: Server) -> None:
    refused(run("--data", server.data_dir, "--port", "0", "--metrics-port", "0"), str(server.data_dir), "in use")
    assert server.is_ready()


def test_data_path_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("not a directory")
    refused(run("--data", path, "--port", "0", "--metrics-port", "0"), str(path), code=1)


def test_damaged_data(server: Server) -> None:
    server.stop()
    (server.data_dir / "metadata.json").write_text("{")
    refused(run("--data", server.data_dir, "--port", "0", "--metrics-port", "0"), "metadata.json", code=1)


def test_unknown_cpu(tmp_path: Path) -> None:
    done = run("--data", tmp_path / "d", "--port", "0", "--metrics-port", "0", env={"VECDB_CPU": "abacus"})
    refused(done, "VECDB_CPU", "abacus")


# ---- Stopping ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals(tmp_path: Path, start: type[Program], number: int) -> None:
    program = start("--data", tmp_path / "d", "--port", "0", "--metrics-port", "0")
    assert "stopped" in program.stop(number)


def until_in_flight(port: int, count: int) -> None:
    """Waits until the server has begun that many requests, the look itself included."""
    deadline = time.monotonic() + SECONDS
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    while True:
        connection.request("GET", "/metrics")
        if b"\nvecdb_http_requests_in_flight %d\n" % count in connection.getresponse().read():
            break
        assert time.monotonic() < deadline
        time.sleep(0.01)
    connection.close()


def test_running_requests_finish(tmp_path: Path, start: type[Program]) -> None:
    """A request half sent at SIGTERM is still done; /readyz says 503 meanwhile, new work and connections are refused."""
    program = start("--data", tmp_path / "d", "--port", "0", "--metrics-port", "0")
    port = int(program.url().rsplit(":", 1)[1])
    body = json.dumps({"name": "late", "dimension": 2}).encode()
    idle = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    idle.request("GET", "/readyz")
    assert idle.getresponse().read() == b'{"status":"ready"}'
    kept_connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    kept_connection.request("GET", "/v1/collections")
    kept = kept_connection.getresponse()
    kept.read()
    slow = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
    slow.sendall(b"POST /v1/collections HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body[:5]))
    until_in_flight(port, 2)
    program.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + SECONDS
    while True:  # until new connections are turned away
        late = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        try:
            late.request("GET", "/healthz")
            late.getresponse().read()
        except (OSError, http.client.HTTPException):
            break
        finally:
            late.close()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert program.process.poll() is None
    idle.request("GET", "/readyz")
    answer = idle.getresponse()
    assert answer.status == 503 and json.loads(answer.read())["code"] == "busy"
    assert answer.headers["Connection"] == "close"
    assert kept.status == 200
    kept_connection.request("GET", "/v1/collections")
    answer = kept_connection.getresponse()
    assert answer.status == 503 and "closing" in json.loads(answer.read())["detail"]
    slow.sendall(body[5:])
    said = b""
    while piece := slow.recv(65536):
        said += piece
    assert said.startswith(b"HTTP/1.1 201 ") and b'"name":"late"' in said, said
    slow.close()
    assert program.process.wait(SECONDS) == 0


def test_a_client_that_never_finishes(tmp_path: Path, start: type[Program]) -> None:
    """drain_seconds bounds the wait; a second signal ends it at once."""
    for second_signal in (False, True):
        config = tmp_path / "c.yaml"
        config.write_text(f"drain_seconds: {60 if second_signal else 1}\n")
        program = start("--config", config, "--data", tmp_path / "d", "--port", "0", "--metrics-port", "0")
        port = int(program.url().rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(b"POST /v1/collections HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            until_in_flight(port, 2)
            begun = time.monotonic()
            if second_signal:
                program.process.send_signal(signal.SIGTERM)
                with pytest.raises(subprocess.TimeoutExpired):  # it waits for the client
                    program.process.wait(1)
            program.stop()
            # 1 s of draining, or a second signal: far from the 10 s and the 60 s that it would take otherwise
            assert time.monotonic() - begun < (8 if not second_signal else 20)


def test_stop_under_load(server: Server) -> None:
    """SIGTERM while clients write: each write was acknowledged and is there after a restart, or was not."""
    port = server.port
    acknowledged: set[int] = set()
    lock = threading.Lock()
    failures: list[str] = []

    def write(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        for i in range(100000):
            one = number * 100000 + i
            try:
                connection.request("POST", "/v1/collections/a/points",
                                   json.dumps({"points": [{"id": one, "vector": [one]}]}))
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                return
            if answer.status == 503:
                return
            if answer.status != 200:
                failures.append(f"{answer.status}")
                return
            with lock:
                acknowledged.add(one)

    request = urllib.request.Request(server.url + "/v1/collections", method="POST",
                                     data=b'{"name": "a", "dimension": 1, "metric": "l2"}')
    urllib.request.urlopen(request, timeout=SECONDS).close()
    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    server.stop()
    for thread in threads:
        thread.join()
    assert not failures and acknowledged
    server.start()
    ids = sorted(acknowledged)
    for at in range(0, len(ids), 10000):
        request = urllib.request.Request(server.url + "/v1/collections/a/points/get", method="POST",
                                         data=json.dumps({"ids": ids[at : at + 10000]}).encode())
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            assert len(json.loads(answer.read())["points"]) == len(ids[at : at + 10000])
