"""The code blocks of README.md do what it says: each is executed as written, and prints what is expected there.

A block is marked by a line `<!-- test: NAME -->` before it; lines `<!-- expect: TEXT -->` after it say what its
output must contain. The C program is compiled against an installed library, the others talk to a server on the
default port.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from server_process import BIN_DIR, REPOSITORY

README = REPOSITORY / "README.md"
PORT = 6334
BLOCK = re.compile(
    r"^<!-- test: (?P<name>\S+) -->\n```\w*\n(?P<code>.*?)^```\n(?P<expects>(?:<!-- expect: [^\n]* -->\n)*)",
    re.MULTILINE | re.DOTALL,
)
EXPECT = re.compile(r"^<!-- expect: (.*) -->$", re.MULTILINE)


def blocks() -> dict[str, tuple[str, list[str]]]:
    found = {}
    for match in BLOCK.finditer(README.read_text(encoding="utf-8")):
        found[match["name"]] = (match["code"], EXPECT.findall(match["expects"]))
    return found


def run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}"
    return done.stdout


def check(output: str, expects: list[str]) -> None:
    assert expects, "the block says nothing about its output"
    for expected in expects:
        assert expected in output, f"README.md expects {expected!r}, the output is:\n{output}"


@pytest.fixture
def default_server(vecdb_server):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError as error:
            pytest.fail(f"port {PORT}, which README.md uses, is taken by another program: {error}")
    server = vecdb_server(port=PORT).start()
    yield server
    server.stop()


def test_every_marked_block_is_run_here():
    text = README.read_text(encoding="utf-8")
    assert sorted(blocks()) == ["curl", "embedded-c", "embedded-c-build", "python", "python-index", "storage"]
    assert text.count("<!-- test:") == 6, "a marked block is not followed by a fenced code block"
    assert text.count("<!-- expect:") == sum(len(expects) for _, expects in blocks().values())


def test_paths_in_the_readme_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (REPOSITORY / target).exists(), f"README.md links to {target}, which is not there"


def cache_value(name: str) -> str:
    found = re.search(rf"^{name}(?::\w+)?=(.*)$", (BIN_DIR / "CMakeCache.txt").read_text(), re.MULTILINE)
    return found[1] if found else ""


def test_embedded_c(tmp_path):
    for option in ("VECDB_SANITIZE", "VECDB_COVERAGE", "VECDB_FUZZ"):
        if cache_value(option).upper() not in ("", "OFF"):
            pytest.skip(f"the build has {option}: a user's program would need its run-time library")
    stage = tmp_path / "stage"
    run(["cmake", "--install", str(BIN_DIR)], tmp_path, {"DESTDIR": str(stage)})
    (description,) = stage.rglob("vecdb.pc")
    environment = {
        "PKG_CONFIG_SYSROOT_DIR": str(stage),
        "PKG_CONFIG_LIBDIR": str(description.parent),
        "LD_LIBRARY_PATH": str(description.parent.parent),
    }
    code, expects = blocks()["embedded-c"]
    (tmp_path / "quickstart.c").write_text(code, encoding="utf-8")
    check(run(["bash", "-ec", blocks()["embedded-c-build"][0]], tmp_path, environment), expects)


def test_python(default_server, tmp_path):
    """The second block goes on where the first ends."""
    code, expects = blocks()["python"]
    more, more_expects = blocks()["python-index"]
    (tmp_path / "block.py").write_text(code + more, encoding="utf-8")
    check(run([sys.executable, "block.py"], tmp_path), expects + more_expects)


def test_curl(default_server, tmp_path):
    assert shutil.which("curl"), "curl is not installed"
    code, expects = blocks()["curl"]
    check(run(["bash", "-ec", code], tmp_path), expects)


def test_storage(tmp_path):
    code, expects = blocks()["storage"]
    check(run(["bash", "-ec", code], tmp_path, {"PATH": f"{BIN_DIR}:{os.environ['PATH']}"}), expects)
