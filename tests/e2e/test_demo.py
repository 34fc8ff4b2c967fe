"""The demo on small inputs: it fills, searches, survives kill -9 and stops; a second run reuses what is there.

`make demo` runs it on the packages that the machine knows; here it gets texts of its own, to be quick.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from server_process import BIN_DIR, REPOSITORY

DEMO = REPOSITORY / "examples" / "demo" / "demo.py"
TEXTS = [
    {"id": "a", "text": "The cat sleeps on the warm windowsill", "kind": "animal", "year": 2001},
    {"id": "b", "text": "A dog chases the postman down the street", "kind": "animal", "year": 2002},
    {"text": "Bread is baked from flour, water and yeast", "kind": "food", "nested": {"x": [1, None, 2.5]}},
    {"id": 7, "text": "Cheese ripens in a cool cellar", "kind": "food"},
    {"id": "ü", "text": "The ship sails across the northern sea \u001b[31m", "kind": "travel"},
    {"text": "Trains cross the mountains by night"},
    {"id": "c", "text": "A cat and a dog share one warm basket", "kind": "animal"},
]


def command(work: Path, *arguments: object) -> list[str]:
    where = ["--bin-dir", str(BIN_DIR), "--work-dir", str(work)]
    return [sys.executable, str(DEMO), *where, *map(str, arguments)]


def run(work: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(work, *arguments), capture_output=True, text=True, timeout=300, check=False)


def write_lines(path: Path, values: list[object]) -> Path:
    path.write_text("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values), encoding="utf-8")
    return path


def test_two_runs(tmp_path):
    pytest.importorskip("sklearn")
    texts = write_lines(tmp_path / "texts.jsonl", TEXTS)
    work = tmp_path / "work"
    first = run(work, "--input", texts)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "7 upserted with their metadata" in first.stdout
    assert "7 of 7 equal to what was written" in first.stdout
    assert "where kind is animal (3 of 7)" in first.stdout
    assert "recall@8 1.000" in first.stdout and "recall@8 0" not in first.stdout
    assert "\x1b" not in first.stdout, "escape sequences of a text reach the terminal"
    assert first.stderr == "", "no progress bar where nobody watches"
    second = run(work, "--input", texts, "--query", "warm cat", "--limit", 2)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "from the cache" in second.stdout and "7 are there from an earlier run" in second.stdout
    assert '"warm cat"' in second.stdout and "recall@2 1.000" in second.stdout

    # Other texts: the points of the earlier ones are gone.
    write_lines(texts, TEXTS[:3])
    third = run(work, "--input", texts)
    assert third.returncode == 0, third.stdout + third.stderr
    assert "3 upserted" in third.stdout and "3 of 3 equal" in third.stdout


@pytest.mark.parametrize("texts", [["word"], ["apple", "apple"], ["one two", "漢字", "!!!"]])
def test_very_small_inputs(tmp_path, texts):
    pytest.importorskip("sklearn")
    done = run(
        tmp_path / "work", "--input", write_lines(tmp_path / "t.jsonl", [{"text": text} for text in texts])
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "content, line, words",
    [
        (b'{"text": "a"}\n{"text": \n', 2, "not JSON"),
        (b'{"text": "a"}\n\n[1]\n', 3, "an array"),
        (b'{"txet": "a"}\n', 1, '"text" must be a string, found nothing'),
        (b'{"text": 5}\n', 1, "a number"),
        (b'{"text": "  "}\n', 1, "empty"),
        (b'{"text": "a\xff"}\n', 1, "UTF-8"),
        (b'{"text": "a", "x": NaN}\n', 1, "NaN"),
        (b'{"text": "a", "x": 1e999}\n', 1, "too large"),
        (b'{"text": "a", "x": "\\ud800"}\n', 1, "surrogate"),
        (b'{"text": "a", "id": -1}\n', 1, "-1"),
        (b'{"text": "a", "id": 1.5}\n', 1, '"id"'),
        (b'{"text": "a", "id": ""}\n', 1, "0 bytes"),
        (b'{"text": "a", "id": "x"}\n{"text": "b", "id": "x"}\n', 2, "line 1"),
        (b'{"text": "a", "id": 2}\n{"text": "b"}\n', 2, "line 1"),
        (b'{"text": "' + b"x" * (1 << 20) + b'"}\n', 1, "1,048,576"),
    ],
)
def test_bad_lines(tmp_path, content, line, words):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    done = run(tmp_path / "work", "--input", path)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"demo: {path}:{line}: ") and words in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_no_texts(tmp_path, content):
    path = tmp_path / "empty.jsonl"
    path.write_bytes(content)
    done = run(tmp_path / "work", "--input", path)
    assert done.returncode == 2 and "no texts" in done.stderr


def test_no_words(tmp_path):
    pytest.importorskip("sklearn")
    done = run(tmp_path / "work", "--input", write_lines(tmp_path / "t.jsonl", [{"text": "!!! ..."}]))
    assert done.returncode == 2 and "no text has a word" in done.stderr


def test_missing_file_and_missing_server(tmp_path):
    done = run(tmp_path / "work", "--input", tmp_path / "none.jsonl")
    assert done.returncode == 2 and "none.jsonl: No such file" in done.stderr
    pytest.importorskip("sklearn")
    texts = write_lines(tmp_path / "texts.jsonl", TEXTS)
    done = run(tmp_path / "work", "--input", texts, "--bin-dir", tmp_path)
    assert done.returncode == 1 and "make build" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_no_server_behind(tmp_path, number):
    pytest.importorskip("sklearn")
    texts = write_lines(
        tmp_path / "t.jsonl", [{"text": f"word{i} word{i + 1} word{i % 97}"} for i in range(20_000)]
    )
    work = tmp_path / "work"
    with subprocess.Popen(
        command(work, "--input", texts), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        # a run in the background hands SIGINT down as ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as demo:
        deadline = time.monotonic() + 120
        while not server_pids(work) and demo.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert server_pids(work), demo.stdout.read().decode()
        demo.send_signal(number)
        code = demo.wait(60)
    left = server_pids(work)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert code == 128 + number and left == []


def server_pids(work: Path) -> list[int]:
    """Running processes whose command line names our data directory."""
    pids = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(work / "data").encode() in words:
                pids.append(int(folder.name))
    return pids
