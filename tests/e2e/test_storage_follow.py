"""`vecdb storage follow`: a second directory stays equal to the first, whichever side is killed."""

import json
import os
import pathlib
import signal
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
VECDB = pathlib.Path(os.environ.get("VECDB_BIN_DIR", ROOT / "build" / "release")) / "vecdb"


def storage(verb, *words):
    return subprocess.run(
        [str(VECDB), "storage", verb, *map(str, words)], capture_output=True, text=True, timeout=120
    )


def asked(verb, *words):
    run = storage(verb, *words, "--json")
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def started(verb, *words):
    return subprocess.Popen(
        [str(VECDB), "storage", verb, *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def killed(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def points(path):
    return asked("recover", "--path", path)["points"]


def test_kills_on_both_sides(tmp_path):
    data, copy = tmp_path / "data", tmp_path / "copy"
    assert storage("init", "--path", data, "--dim", 16).returncode == 0
    for round_number in range(4):
        first = round_number * 100_000
        writer = started("insert", "--path", data, "--count", 100_000, "--first-id", first, "--batch", 50)
        follower = started("follow", "--path", data, "--to", copy)
        time.sleep(0.4)
        killed(follower)
        killed(writer)
        if round_number == 1:  # prunes the log that the follower has not seen
            assert storage("checkpoint", "--path", data).returncode == 0
        if round_number == 2:
            assert storage("delete", "--path", data, "--fraction", "0.3").returncode == 0
            assert storage("compact", "--path", data).returncode == 0
    there = points(data)
    asked("follow", "--path", data, "--to", copy, "--once")
    assert points(copy) == there > 0
    assert storage("verify", "--path", copy).returncode == 0


def test_ends_by_a_signal(tmp_path):
    data, copy = tmp_path / "data", tmp_path / "copy"
    assert storage("init", "--path", data, "--dim", 4).returncode == 0
    assert storage("insert", "--path", data, "--count", 100).returncode == 0
    follower = subprocess.Popen(
        [str(VECDB), "storage", "follow", "--path", data, "--to", copy, "--json"], stdout=subprocess.PIPE, text=True
    )
    time.sleep(0.5)
    follower.send_signal(signal.SIGTERM)
    out, _ = follower.communicate(timeout=30)
    assert follower.returncode == 0
    assert json.loads(out)["points"] == 100


def test_a_follower_takes_no_writes_until_promoted(tmp_path):
    data, copy = tmp_path / "data", tmp_path / "copy"
    assert storage("init", "--path", data, "--dim", 4).returncode == 0
    assert storage("insert", "--path", data, "--count", 10).returncode == 0
    asked("follow", "--path", data, "--to", copy, "--once")
    refused = storage("insert", "--path", copy, "--count", 1)
    assert refused.returncode != 0 and "promote" in refused.stderr
    assert storage("promote", "--path", copy).returncode == 0
    assert storage("insert", "--path", copy, "--count", 20).returncode == 0
    assert points(copy) == 20
    again = storage("follow", "--path", data, "--to", copy, "--once")
    assert again.returncode != 0 and "promoted" in again.stderr


def test_bad_input(tmp_path):
    data = tmp_path / "data"
    assert storage("init", "--path", data, "--dim", 4).returncode == 0
    missing = storage("follow", "--path", data)
    assert missing.returncode == 2 and "--to" in missing.stderr
    nowhere = storage("follow", "--path", tmp_path / "none", "--to", tmp_path / "copy", "--once")
    assert nowhere.returncode != 0 and "none" in nowhere.stderr
    other = tmp_path / "other"
    assert storage("init", "--path", other, "--dim", 4).returncode == 0
    foreign = storage("follow", "--path", data, "--to", other, "--once")
    assert foreign.returncode != 0 and "another collection" in foreign.stderr
