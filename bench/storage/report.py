"""Makes the table of a run of bench_storage, and puts it into docs/benchmarks.md.

    bench_storage > run.json; python3 bench/storage/report.py run.json [--docs docs/benchmarks.md] [--command TEXT]

Ratios are medians of the ratios of each round: the participants of a round ran one after the other.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
from pathlib import Path
from typing import Any

BEGIN = "<!-- storage: begin (written by make bench-storage; edits here are lost) -->"
END = "<!-- storage: end -->"
MB = 1e6


class Run:
    def __init__(self, results: dict[str, Any]):
        self.settings = results["settings"]
        self.versions = results["versions"]
        self.samples = results["samples"]

    def has(self, *names: str) -> bool:
        return all(self.samples.get(name) for name in names)

    def median(self, name: str) -> float:
        return statistics.median(self.samples[name])

    def show(self, name: str, unit: float = 1, form: str = ",.0f") -> str:
        """Median (minimum-maximum), or a dash when it was not measured."""
        if not self.has(name):
            return "-"
        values = [value / unit for value in self.samples[name]]
        return f"{statistics.median(values):{form}} ({min(values):{form}}-{max(values):{form}})"

    def ratio(self, above: str, below: str, unit: float = 1) -> float | None:
        """unit: how much of what `above` counts is one of `below`."""
        if not self.has(above, below):
            return None
        return statistics.median(a / (b * unit) for a, b in zip(self.samples[above], self.samples[below]))


def times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def verdict(value: float | None, wanted: str) -> str:
    """wanted is ">= 1.5" or "<= 1.05"."""
    if value is None:
        return "not measured"
    sign, limit = wanted.split()
    met = value >= float(limit) if sign == ">=" else value <= float(limit)
    return "met" if met else "**missed**"


def ingest_table(run: Run) -> list[str]:
    names = (("vecdb", "vecdb, batches", "ingest_vecdb_rows_per_second"),
             ("sqlite", "SQLite, batches", "ingest_sqlite_rows_per_second"),
             ("rocksdb", "RocksDB, batches", "ingest_rocksdb_rows_per_second"),
             ("vecdb", "vecdb, one sync an insert", "single_vecdb_rows_per_second"))
    settings = run.settings
    ours = "ingest_vecdb_rows_per_second"
    batch = settings["batch"]
    lines = ["### Durable ingest, one writer", "",
             f"{settings['rows']:,} rows of {settings['dimension']} floats with metadata, {settings['batch']} to a "
             f"batch, each batch on the disk before the next ({settings['single_rows']:,} rows one at a time).", "",
             "| who | version | rows/s | vecdb, batches / this |", "|---|---|---|---|"]
    for key, text, measure in names:
        if run.has(measure):
            lines.append(f"| {text} | {run.versions.get(key, '')} | {run.show(measure)} | "
                         f"{times(run.ratio('ingest_vecdb_rows_per_second', measure))} |")
    for text, measure in (("grows", "disk_sync_batch_rate"), ("was written before", "disk_sync_batch_ahead_rate")):
        if run.has(measure):
            lines.append(f"| the disk: as many bytes and fdatasync, the file {text} | | {run.show(measure, 1 / batch)} | "
                         f"{times(run.ratio(ours, measure, batch))} |")
    return lines + [""]


def concurrent_table(run: Run) -> list[str]:
    if not run.has("concurrent_vecdb_rows_per_second"):
        return []
    lines = [f"### Single rows, {run.settings['threads']} writers", "", "| measure | value |", "|---|---|",
             f"| vecdb, rows/s | {run.show('concurrent_vecdb_rows_per_second')} |",
             f"| RocksDB, rows/s | {run.show('concurrent_rocksdb_rows_per_second')} |",
             f"| rows in a sync (group size) | {run.show('concurrent_group_size', 1, '.1f')} |",
             f"| the disk: append of 4 KiB and fdatasync, /s | {run.show('disk_sync_rate')} |",
             f"| the disk: append of a group's bytes and fdatasync, /s | {run.show('disk_sync_group_rate')} |",
             f"| the disk: 4 KiB and fdatasync in a file written before, /s | {run.show('disk_sync_ahead_rate')} |",
             f"| the disk: a group's bytes and fdatasync in a file written before, /s | "
             f"{run.show('disk_sync_group_ahead_rate')} |",
             f"| rows/s / (best rate of appends of 4 KiB x group size) | {share_of_disk(run, 'disk_sync_rate'):.2f} |",
             f"| rows/s / (best rate of a group's bytes in a file written before x group size) | "
             f"{share_of_disk(run, 'disk_sync_group_ahead_rate'):.2f} |"]
    return lines + [""]


def lifetime_table(run: Run) -> list[str]:
    if not run.has("recovery_seconds"):
        return []
    rows = f"{run.settings['big_rows']:,} x {run.settings['dimension']}"
    lines = [f"### Recovery, opening, reads, compaction: {rows}", "",
             "Files are in the kernel's cache. Compaction: an eighth of the points is dead each time, all are read.", "",
             "| measure | value |", "|---|---|",
             f"| recovery, MB/s of log, one core | {run.show('recovery_bytes_per_second', MB)} |",
             f"| recovery, s | {run.show('recovery_seconds', 1, '.2f')} |",
             f"| checkpoint, MB/s of segment | {run.show('checkpoint_bytes_per_second', MB)} |",
             f"| open and get a point, ms | {run.show('open_get_seconds', 1e-3, '.1f')} |",
             f"| first search (checks every block), ms | {run.show('first_search_seconds', 1e-3)} |",
             f"| next search, ms | {run.show('next_search_seconds', 1e-3)} |",
             f"| get by id, p50, us | {run.show('get_p50_seconds', 1e-6, '.1f')} |",
             f"| get by id, p99, us | {run.show('get_p99_seconds', 1e-6, '.1f')} |",
             f"| scan, million rows/s | {run.show('scan_rows_per_second', 1e6, '.1f')} |",
             f"| compaction, MB/s written | {run.show('compact_written_bytes_per_second', MB)} |",
             f"| compaction, MB/s of input | {run.show('compact_read_bytes_per_second', MB)} |",
             f"| the disk's sequential write and sync, MB/s | {run.show('disk_write_bytes_per_second', MB)} |",
             f"| bytes of segments / of live rows, after | {run.show('space_amplification_rows', 1, '.3f')} |",
             f"| bytes of the directory / of ids, vectors, metadata given | "
             f"{run.show('space_directory_over_given', 1, '.3f')} |"]
    return lines + [""]


def share_of_disk(run: Run, syncs: str) -> float | None:
    """Of the best rate of syncs that any round saw: what else the machine did then slows that loop, too, and must not
    make the share look good."""
    if not run.has("concurrent_share_of_disk"):
        return None
    return (run.median("concurrent_vecdb_rows_per_second") /
            (max(run.samples[syncs]) * run.median("concurrent_group_size")))


def target_table(run: Run) -> list[str]:
    ours = "ingest_vecdb_rows_per_second"
    many = "concurrent_vecdb_rows_per_second"
    rows: list[tuple[str, float | None, str]] = [
        ("batches of 100 / one sync an insert", run.ratio(ours, "single_vecdb_rows_per_second"), ">= 20"),
        ("batches: vecdb / SQLite", run.ratio(ours, "ingest_sqlite_rows_per_second"), ">= 1.5"),
        ("batches: vecdb / RocksDB", run.ratio(ours, "ingest_rocksdb_rows_per_second"), ">= 1.5"),
        ("many writers: share of the disk's rate of appends and fdatasync x group size",
         share_of_disk(run, "disk_sync_rate"), ">= 0.9"),
        ("the same, of its rate in a file written before, as our log is",
         share_of_disk(run, "disk_sync_group_ahead_rate"), ">= 0.9"),
        ("many writers: vecdb / RocksDB", run.ratio(many, "concurrent_rocksdb_rows_per_second"), ">= 1.5"),
    ]
    if run.has("recovery_seconds"):
        disk = run.median("disk_write_bytes_per_second") / MB
        goal = min(500.0, disk)
        rows += [
            ("recovery, GB/s of log and core", run.median("recovery_bytes_per_second") / 1e9, ">= 1"),
            ("open and first answer, ms", run.median("open_get_seconds") * 1e3, "<= 50"),
            (f"compaction, MB/s written (500 or the disk's {disk:.0f})",
             run.median("compact_written_bytes_per_second") / MB, f">= {goal:.0f}"),
            ("space amplification after it", max(run.median("space_amplification_rows"),
                                                 run.median("space_directory_over_given")), "<= 1.05"),
        ]
    lines = ["| goal | measured | wanted | |", "|---|---|---|---|"]
    for text, value, wanted in rows:
        lines.append(f"| {text} | {times(value)} | {wanted} | {verdict(value, wanted)} |")
    return lines + [""]


def machine_lines(command: str) -> list[str]:
    """What it was measured on: processor, cores, system, commit, load."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    mount = subprocess.run(["findmnt", "-no", "FSTYPE,OPTIONS", "-T", "."], capture_output=True, text=True, check=False)
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return [f"- Command: `{command}`",
            f"- Processor: {cpu}, {os.cpu_count()} cores; {platform.system()} {platform.release()}",
            f"- File system: {' '.join(mount.stdout.split()) or 'unknown'}",
            f"- Commit: {commit.stdout.strip() or 'unknown'}; date: {date}; load when it ended: {os.getloadavg()[0]:.2f}",
            "- Values are medians (minimum-maximum) of rounds in which all took turns; ratios are medians of the ratios "
            "of the rounds.", ""]


def markdown(run: Run, command: str) -> str:
    lines = machine_lines(command) + target_table(run) + ingest_table(run) + concurrent_table(run) + lifetime_table(run)
    return "\n".join(lines)


def insert(text: str, body: str) -> str:
    """text with body between the markers, which are put at the end, under a heading, when they are not there."""
    if text.count(BEGIN) == 0 and text.count(END) == 0:
        text = (f"{text.rstrip()}\n\n## Storage\n\nDurable writes, recovery, opening, compaction and reads: how it is done, "
                f"and how to repeat it: [bench/storage/README.md](../bench/storage/README.md).\n\n{BEGIN}\n{END}\n")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"the markers {BEGIN} and {END} must stand once each, in this order")
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    return f"{head}{BEGIN}\n\n{body.strip()}\n\n{END}{tail}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--docs", type=Path, help="the page to write the table into")
    parser.add_argument("--command", default="make bench-storage")
    options = parser.parse_args()
    body = markdown(Run(json.loads(options.results.read_text(encoding="utf-8"))), options.command)
    print(body)
    if options.docs is not None:
        options.docs.write_text(insert(options.docs.read_text(encoding="utf-8"), body), encoding="utf-8")


if __name__ == "__main__":
    main()
