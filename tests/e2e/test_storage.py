"""`vecdb storage`, run as a user runs it: the life of a data directory with a kill -9 in the middle, and bad input."""

import json
import math
import os
import pathlib
import re
import select
import signal
import subprocess
import time
from xml.etree import ElementTree

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
VECDB = pathlib.Path(os.environ.get("VECDB_BIN_DIR", ROOT / "build" / "release")) / "vecdb"
SNAPSHOT_VERBS = ["snapshot create", "snapshot list", "snapshot delete", "snapshot restore"]
VERBS = ["init", "insert", "delete", "recover", "verify", "stats", "compact", "backup", "bench", "index", "search"]
VERBS += SNAPSHOT_VERBS


def storage(verb, *words):
    return subprocess.run(
        [str(VECDB), "storage", *verb.split(), *map(str, words)], capture_output=True, text=True, timeout=300
    )


def done(verb, *words):
    """Runs a verb that must succeed and say nothing on stderr; what it printed."""
    run = storage(verb, *words)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return run.stdout


def asked(verb, *words):
    """The same with --json, parsed."""
    out = done(verb, *words, "--json")
    assert out.count("\n") == 1
    return json.loads(out)


def refused(run, *parts, code=2):
    assert run.returncode == code, (run.returncode, run.stdout, run.stderr)
    assert run.stdout == ""
    assert run.stderr.startswith("vecdb storage") and run.stderr.count("\n") == 1
    for part in parts:
        assert part in run.stderr


def small(path, count=1000, dimension=8, *words):
    done("init", "--path", path, "--dim", dimension)
    done("insert", "--path", path, "--count", count, *words)
    return path


def number(text, key):
    """The first number of the line of that name."""
    line = re.search(rf"^  {re.escape(key)} .*$", text, re.MULTILINE)
    assert line, (key, text)
    return int(re.search(r"\d[\d,]*", line.group()[len(key) + 2 :]).group().replace(",", ""))


def kill_insert(path, after_acks, *words):
    """Starts an insert and kills it once it has acknowledged so many points; the last count that it printed."""
    process = subprocess.Popen(
        [str(VECDB), "storage", "insert", "--path", str(path), "--acks", *map(str, words)], stdout=subprocess.PIPE
    )
    seen = b""
    try:
        while seen.count(b"\n") == 0 or int(seen.splitlines()[seen.count(b"\n") - 1].split()[1]) < after_acks:
            assert select.select([process.stdout], [], [], 60)[0], "no acknowledgement for a minute"
            piece = os.read(process.stdout.fileno(), 1 << 16)
            assert piece, f"the insert ended early: {seen[-200:]!r}"
            seen += piece
    finally:
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
        process.wait()
    lines = [line for line in (seen + rest).split(b"\n")[:-1] if line.startswith(b"acknowledged ")]
    return int(lines[-1].split()[1])


def test_the_transcript(tmp_path):
    """init, insert, kill -9, recover, verify, delete a third, compact, snapshots, backup."""
    path = tmp_path / "data"
    out = done("init", "--path", path)
    assert 'Made collection "default"' in out and number(out, "dimension") == 128

    acknowledged = kill_insert(path, 8_000, "--count", 1_000_000)
    out = done("recover", "--path", path)
    points = number(out, "points verified")
    assert acknowledged <= points <= acknowledged + 100  # one batch may have been on its way
    assert number(out, "segments scanned") == 0
    assert number(out, "log entries replayed") == points // 100 <= number(out, "log entries found")
    assert re.search(r"index consistency +ok: the qgraph index sees", out)
    assert "\nNo data loss: every acknowledged write is there.\n" in out
    assert "Every byte is what was written." in done("verify", "--path", path)

    made = asked("snapshot create", "--path", path, "--name", "whole")
    assert made["name"] == "whole" and made["points"] == points and made["seq"] >= points // 100

    out = done("delete", "--path", path, "--fraction", "0.34")
    deleted = number(out, "deleted")
    assert deleted == math.floor(points * 0.34) and number(out, "left") == points - deleted
    before = asked("stats", "--path", path)
    assert before["points"] == points - deleted and before["dead_rows"] == deleted
    assert before["compaction_due"] and before["space_amplification"] == pytest.approx(1 / 0.66, rel=0.01)
    assert before["compaction_debt_bytes"] == sum(s["vector_bytes"] + s["metadata_bytes"] for s in before["segments"])

    out = done("compact", "--path", path)
    assert number(out, "dead rows dropped") == deleted
    assert re.search(r"^  reclaimed +\S+ [kM]B \(\d+\.\d%\)$", out, re.MULTILINE)
    after = asked("stats", "--path", path)
    assert after["points"] == points - deleted and after["dead_rows"] == 0 and len(after["segments"]) == 1
    assert after["space_amplification"] == 1 and after["compaction_debt_bytes"] == 0
    assert after["disk"]["total"]["bytes"] < 0.75 * before["disk"]["total"]["bytes"]
    assert after["disk"]["snapshots"]["bytes"] == before["disk"]["snapshots"]["bytes"]

    done("snapshot create", "--path", path, "--name", "two-thirds")
    out = done("snapshot list", "--path", path)
    assert [line.split()[0] for line in out.splitlines()[2:]] == ["two-thirds", "whole"]
    done("snapshot restore", "--path", path, "--name", "whole", "--to", tmp_path / "old")
    old = asked("recover", "--path", tmp_path / "old")
    assert old["points_verified"] == points and not old["data_loss"]

    done("backup", "--path", path, "--to", tmp_path / "copy")
    copy = asked("recover", "--path", tmp_path / "copy")
    assert copy["points_verified"] == points - deleted and not copy["data_loss"]
    assert asked("verify", "--path", path)["snapshots"] == 2
    done("snapshot delete", "--path", path, "--name", "whole")
    assert [s["name"] for s in asked("snapshot list", "--path", path)["snapshots"]] == ["two-thirds"]
    assert asked("verify", "--path", path)["ok"]
    # The copies are databases of their own, which take writes.
    done("insert", "--path", tmp_path / "copy", "--count", 10, "--first-id", 5_000_000)
    assert asked("stats", "--path", tmp_path / "copy")["points"] == points - deleted + 10


def test_kills_one_after_the_other(tmp_path):
    """Each run goes on where the kill left the directory; nothing acknowledged by any of them is ever missing."""
    path = tmp_path / "data"
    done("init", "--path", path, "--dim", 4)
    most = 0
    for i in range(8):
        acknowledged = kill_insert(path, 50 + 400 * i, "--count", 1_000_000, "--batch", 7 + i)
        answer = asked("recover", "--path", path)
        most = max(most, acknowledged)
        assert answer["points"] >= most and not answer["data_loss"]
        assert answer["points_verified"] == answer["points"] == answer["index_points"]
        if i % 3 == 2:
            done("compact", "--path", path)


def test_a_killed_compaction_loses_nothing(tmp_path):
    path = small(tmp_path / "data", 20_000, 64, "--batch", 1000)
    done("compact", "--path", path)
    done("delete", "--path", path, "--fraction", "0.5")
    command = [str(VECDB), "storage", "compact", "--path", str(path), "--rate", "2M"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    time.sleep(0.5)
    assert process.poll() is None
    process.kill()
    process.wait()
    answer = asked("recover", "--path", path)
    assert answer["points"] == answer["points_verified"] == 10_000
    numbers = {int(re.search(r"_(\d+)\.bin", f.name).group(1)) for f in path.rglob("vectors_*.bin")}
    assert numbers == {s["number"] for s in asked("stats", "--path", path)["segments"]}  # no leftovers


def test_a_dataset(tmp_path):
    rows = np.random.default_rng(1).standard_normal((250, 12)).astype(np.float32)
    np.save(tmp_path / "base.npy", rows)
    path = tmp_path / "data"
    done("init", "--path", path, "--collection", "docs", "--dim", 12)
    answer = asked("insert", "--path", path, "--collection", "docs", "--dataset", tmp_path / "base.npy", "--batch", 64)
    assert answer["acknowledged"] == 250 and answer["batches"] == 4 and answer["points"] == 250
    answer = asked("insert", "--path", path, "--collection", "d2", "--dim", 12, "--dataset", tmp_path / "base.npy",
                   "--count", 10)
    assert answer["points"] == 10
    refused(storage("insert", "--path", path, "--collection", "docs", "--dataset", tmp_path / "base.npy", "--count", 251),
            "--count is 251", "250 vectors")
    done("init", "--path", path, "--dim", 13)
    refused(storage("insert", "--path", path, "--dataset", tmp_path / "base.npy"), "dimension 12", "has 13")
    bad = rows.copy()
    bad[3, 5] = np.nan
    np.save(tmp_path / "bad.npy", bad)
    refused(storage("insert", "--path", path, "--collection", "docs", "--dataset", tmp_path / "bad.npy"), "row 3")
    refused(storage("insert", "--path", path, "--dataset", tmp_path / "none.npy"), "none.npy")


def test_insert_again_replaces(tmp_path):
    path = small(tmp_path / "data", 500)
    answer = asked("insert", "--path", path, "--count", 500)
    assert answer["points"] == 500 and answer["syncs"] >= 5
    assert asked("stats", "--path", path)["dead_rows"] == 500
    out = done("insert", "--path", path, "--count", 1000, "--first-id", 500)
    acks = [int(line.split()[1].replace(",", "")) for line in out.splitlines() if line.startswith("acknowledged")]
    assert acks == list(range(100, 1001, 100))
    assert number(out, "collection") == 1500


def test_delete(tmp_path):
    path = small(tmp_path / "data", 100)
    assert asked("delete", "--path", path, "--ids", "3,99,100,x-1")["deleted"] == 2
    assert asked("delete", "--path", path, "--ids", "3")["deleted"] == 0
    assert asked("delete", "--path", path, "--fraction", "0.5")["points_after"] == 49
    assert asked("delete", "--path", path, "--fraction", "1")["points_after"] == 0
    answer = asked("recover", "--path", path)
    assert answer["points"] == 0 and not answer["data_loss"]
    after = asked("compact", "--path", path)["after"]
    assert after["points"] == 0 and after["dead_rows"] == 0
    for bad in ["0", "-0.1", "1.01", "nan", "x", "0.5x"]:
        refused(storage("delete", "--path", path, f"--fraction={bad}"), f'--fraction is "{bad}"')
    refused(storage("delete", "--path", path), "one of --fraction and --ids")
    refused(storage("delete", "--path", path, "--ids", "1", "--fraction", "1"), "one of --fraction and --ids")
    refused(storage("delete", "--path", path, "--ids", "1,,2"), "an id of 0 bytes")
    refused(storage("delete", "--path", path, "--ids", "y" * 256), "256 bytes", "255")


def flip(file, at):
    data = bytearray(file.read_bytes())
    data[at] ^= 0x10
    file.write_bytes(data)


@pytest.mark.parametrize("pattern", ["vectors/vectors_*.bin", "meta/meta_*.bin", "meta/dead_*.bin", "metadata.json",
                                     "wal/*", "snapshots/*/vectors/*.bin"])
def test_verify_finds_damage(tmp_path, pattern):
    """One bit in the middle of each kind of file: exit code 1, and one line with the file and the byte."""
    path = small(tmp_path / "data", 2000)
    done("compact", "--path", path)
    done("snapshot create", "--path", path, "--name", "s")
    done("delete", "--path", path, "--fraction", "0.1")
    if pattern.startswith("snapshots"):
        done("compact", "--path", path)  # the snapshot's files are its own now
    else:
        done("snapshot create", "--path", path, "--name", "s2")  # a checkpoint: the dead rows get a file
    done("insert", "--path", path, "--count", 3000, "--first-id", 2000)
    assert asked("verify", "--path", path)["points"] == 4800
    file = sorted((path / "collections" / "default").glob(pattern))[-1]
    flip(file, file.stat().st_size // 2)
    run = storage("verify", "--path", path)
    refused(run, file.name, code=1)
    assert re.search(r"\bbyte \d+", run.stderr) or pattern == "metadata.json", run.stderr
    run = storage("verify", "--path", path, "--json")
    refused(run, file.name, code=1)


@pytest.mark.parametrize("pattern", ["vectors/vectors_*.bin", "meta/meta_*.bin", "metadata.json", "wal/*",
                                     "snapshots/*/vectors/*.bin", "snapshots/*/metadata.json"])
def test_verify_finds_what_is_missing(tmp_path, pattern):
    path = small(tmp_path / "data", 500)
    done("compact", "--path", path)
    done("snapshot create", "--path", path, "--name", "s")
    assert asked("verify", "--path", path)["ok"]
    sorted((path / "collections" / "default").glob(pattern))[0].unlink()
    refused(storage("verify", "--path", path), pattern.split("/")[-1].split("_")[0].strip("*"), code=1)


def test_json_has_what_the_text_has(tmp_path):
    path = small(tmp_path / "data", 300)
    stats = asked("stats", "--path", path)
    assert stats["points"] == 300 and stats["dimension"] == 8 and stats["metric"] == "l2" and stats["segments"] == []
    assert stats["disk"]["log"]["files"] == 1 and stats["disk"]["log"]["bytes"] > 300 * 32
    opening = stats["opening"]
    assert opening["read_bytes"] >= stats["recovered_bytes"] > 300 * 32 and opening["mapped_reads"] == 0
    assert opening["failures"] == 0 and opening["synced_bytes"] <= opening["write_bytes"]
    assert opening["dir_syncs"]["count"] >= 1
    assert 0 < opening["dir_syncs"]["p50_seconds"] <= opening["dir_syncs"]["p99_seconds"]
    done("compact", "--path", path)
    stats = asked("stats", "--path", path)
    assert [s["rows"] for s in stats["segments"]] == [300] and stats["checkpoint_seq"] == stats["last_seq"] >= 3
    on_disk = sum(f.stat().st_size for f in (path / "collections" / "default").rglob("*") if f.is_file())
    assert stats["disk"]["total"]["bytes"] == on_disk
    out = done("stats", "--path", path)
    assert number(out, "points") == 300 and number(out, "sequence number") == stats["last_seq"]
    assert stats["opening"]["mapped_reads"] > 0
    assert number(out, "compaction debt") == 0 and re.search(r"^  read through maps +[1-9]", out, re.MULTILINE)
    assert re.search(r"^  syncs of directories +\d+ \(p50 <= ", out, re.MULTILINE)
    assert re.search(r"^  total +\d+ +[\d,]+$", out, re.MULTILINE)
    answer = asked("recover", "--path", path)
    assert answer["segments_scanned"] == 1 and answer["entries_found"] == answer["entries_replayed"] == 0


def test_bench(tmp_path):
    path = tmp_path / "bench"
    answer = asked("bench", "--path", path, "--count", 2000, "--dim", 16, "--singles", 20, "--reads", 100)
    assert not path.exists()
    for key in ["insert_single", "insert_batch", "read_sequential", "read_random"]:
        assert 0 < answer[key]["p50_seconds"] <= answer[key]["p99_seconds"]
        assert answer[key]["points_per_second"] > 0
    for key, operations in [("insert_single", 20), ("insert_batch", 20)]:
        io = answer[key + "_io"]
        assert io["syncs"] == operations <= io["writes"]  # and zeros ahead of the log, now and then
        assert io["write_bytes"] > operations * 64
        assert 0 < io["sync_p50_seconds"] <= io["sync_p99_seconds"]
    assert answer["recovery"]["points"] == 2020 and answer["recovery"]["seconds"] > 0
    assert answer["compaction"]["space_amplification"] <= 1.05
    opened = answer["open_and_first_read"]  # of the same points: a checkpoint leaves nothing to replay
    assert opened["from_log"]["batches"] == 40 and opened["after_checkpoint"]["batches"] == 0
    assert opened["from_log"]["log_bytes"] > 2020 * 64 > opened["after_checkpoint"]["log_bytes"]
    assert 0 < opened["after_checkpoint"]["seconds"] == answer["open_and_first_read_seconds"]
    assert opened["from_log"]["seconds"] >= answer["recovery"]["seconds"]
    out = done("bench", "--path", path, "--count", 1000, "--dim", 16, "--singles", 10, "--reads", 10, "--keep")
    assert "insert, one point" in out and "per million points" in out
    assert re.search(r"^  syncs, one point +10, p50 <= \S+ \S+, p99 <= ", out, re.MULTILINE)
    assert asked("stats", "--path", path)["points"] == 1010 - 334
    refused(storage("bench", "--path", path), "is there", "directory of its own")
    assert asked("verify", "--path", path)["ok"]  # it was not touched


SVG = "{http://www.w3.org/2000/svg}"


def test_bench_plot(tmp_path):
    path, plot = tmp_path / "bench", tmp_path / "latency.svg"
    plot.write_text("x" * 100000)  # of an earlier run: replaced whole
    out = done("bench", "--path", path, "--count", 1000, "--dim", 16, "--singles", 10, "--reads", 50, "--plot", plot)
    assert "from the log alone" in out and "after a checkpoint" in out
    root = ElementTree.parse(plot).getroot()
    assert root.tag == SVG + "svg" and root.get("viewBox") == "0 0 920 480"
    texts = [text.text for text in root.iter(SVG + "text")]
    for wanted in ["Latency of storage operations", "time of one operation, until it is on disk or answered",
                   "share of operations that took at most so long", "0%", "100%", "1,000 points, dimension 16, "
                   "batches of 100; one writer, every write synced"]:
        assert wanted in texts
    assert any(re.fullmatch(r"10*( us| ms)", text) for text in texts)
    curves = list(root.iter(SVG + "polyline"))
    assert [curve[0].text for curve in curves] == ["insert, one point", "insert, a batch", "read by id, in order",
                                                   "read by id, random"]
    for curve, count in zip(curves, [10, 10, 50, 50]):
        points = [tuple(map(float, point.split(","))) for point in curve.get("points").split()]
        assert len(points) == count
        assert points == sorted(points, key=lambda point: (point[0], -point[1]))  # slower, and more of them
        assert points[-1][1] == 70.0  # all of them: the frame's upper edge
    assert "prefers-color-scheme: dark" in root.find(SVG + "style").text
    refused(storage("bench", "--path", path, "--plot", tmp_path / "none" / "f.svg"), "--plot", "f.svg")
    refused(storage("bench", "--path", path, "--plot", tmp_path), "--plot", "directory", code=1)
    assert not path.exists()  # refused before anything was measured


def test_bad_input(tmp_path):
    path = small(tmp_path / "data", 10)
    refused(storage("frobnicate"), 'unknown verb "frobnicate"', "vecdb storage --help")
    refused(storage("insret"), 'did you mean "insert"?')
    refused(storage("snapshot"), "create, list, delete, restore")
    refused(storage("snapshot creat", "--path", path), "snapshot create")
    refused(subprocess.run([str(VECDB), "storage"], capture_output=True, text=True), "a verb is missing")
    refused(storage("stats"), "--path is missing")
    refused(storage("stats", "--path", tmp_path / "none"), "vecdb storage init", "none")
    assert not (tmp_path / "none").exists()
    refused(storage("stats", "--path", path, "--collection", "docs"), "--collection", '"docs"')
    refused(storage("insert", "--path", path, "--collection", "docs"), "vecdb storage init", '"docs"')
    refused(storage("init", "--path", path), '"default"')
    refused(storage("init", "--path", path, "--collection", "../x"), "../x")
    refused(storage("init", "--path", path, "--dim", 0), "--dim is 0", "from 1 to 65536")
    refused(storage("init", "--path", path, "--dim", 65537), "from 1 to 65536")
    refused(storage("init", "--path", path, "--metric", "l3"), "l2, cosine, dot, l1")
    refused(storage("insert", "--path", path, "--count", 0), "--count is 0")
    refused(storage("insert", "--path", path, "--batch", 10001), "--batch is 10001", "from 1 to 10000")
    refused(storage("insert", "--path", path, "--dim", 9), "--dim is 9", "has dimension 8")
    refused(storage("compact", "--path", path, "--rate", "fast"), '--rate is "fast"')
    refused(storage("compact", "--path", path, "--rate", "0"), '--rate is "0"')
    refused(storage("snapshot create", "--path", path, "--name", "../../x"), "../../x")
    refused(storage("snapshot create", "--path", path), "--name is missing")
    refused(storage("snapshot delete", "--path", path, "--name", "none"), '"none"')
    refused(storage("snapshot restore", "--path", path, "--name", "none", "--to", tmp_path / "to"), "none")
    done("snapshot create", "--path", path, "--name", "s")
    refused(storage("snapshot create", "--path", path, "--name", "s"), '"s"')
    refused(storage("snapshot restore", "--path", path, "--name", "s", "--to", path), str(path))
    refused(storage("backup", "--path", path, "--to", path), str(path))
    (tmp_path / "file").write_text("x")
    assert storage("backup", "--path", path, "--to", tmp_path / "file").returncode != 0
    assert storage("verify", "--path", tmp_path / "file").returncode != 0
    assert asked("verify", "--path", path)["points"] == 10


def test_large_dimension_and_batch(tmp_path):
    path = tmp_path / "data"
    done("init", "--path", path, "--dim", 65536)
    refused(storage("insert", "--path", path, "--count", 300, "--batch", 300), "--batch is 300", "67108864")
    assert asked("insert", "--path", path, "--count", 3, "--batch", 2)["points"] == 3


def test_a_directory_in_use_is_refused(tmp_path, vecdb_server):
    server = vecdb_server(data_dir=tmp_path / "data").start()
    for verb in ["stats", "verify", "recover", "compact"]:
        run = storage(verb, "--path", tmp_path / "data")
        assert run.returncode == 1 and run.stdout == "" and run.stderr.count("\n") == 1
    server.stop()
    assert asked("verify", "--path", tmp_path / "data")["ok"]


@pytest.mark.parametrize("verb", VERBS)
def test_help(verb):
    for words in [[*verb.split(), "--help"], [*verb.split(), "-h"]]:
        run = subprocess.run([str(VECDB), "storage", *words], capture_output=True, text=True)
        assert run.returncode == 0 and run.stderr == ""
        assert run.stdout.startswith(f"vecdb storage {verb}: ")
        assert "--path DIR" in run.stdout and f"\nExamples:\n  vecdb storage {verb} " in run.stdout
    again = subprocess.run([str(VECDB), "help", "storage", *verb.split()], capture_output=True, text=True)
    assert again.stdout == run.stdout
    for line in run.stdout.splitlines():
        if line.startswith("  vecdb storage"):
            assert line.split()[2] == verb.split()[0]


def test_help_lists_all_verbs():
    pages = [subprocess.run([str(VECDB), *w], capture_output=True, text=True) for w in
             (["storage", "--help"], ["help", "storage"])]
    assert pages[0].returncode == 0 and pages[0].stdout == pages[1].stdout
    for verb in VERBS:
        assert re.search(rf"^  {verb}  ", pages[0].stdout, re.MULTILINE), verb
    assert re.search(r"^  storage +\S", subprocess.run([str(VECDB), "--help"], capture_output=True, text=True).stdout,
                     re.MULTILINE)
