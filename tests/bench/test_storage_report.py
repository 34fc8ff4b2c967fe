"""The table of the storage benchmark: medians, ratios, goals, and its place in the page."""

from __future__ import annotations

import pytest

from bench.ann import docs
from bench.storage import report

SETTINGS = {"rows": 1000, "single_rows": 10, "dimension": 4, "batch": 100, "threads": 16, "rounds": 3, "big_rows": 1000,
            "big_rounds": 3, "reads": 10}


def run_of(**samples: list[float]) -> report.Run:
    return report.Run({"settings": SETTINGS, "versions": {"vecdb": "0.1.0", "sqlite": "3"}, "samples": samples})


def test_ratios_are_taken_within_rounds() -> None:
    run = run_of(a=[10, 20, 90], b=[10, 10, 30])
    assert run.ratio("a", "b") == 2
    assert run.ratio("a", "b", 2) == 1
    assert run.ratio("a", "missing") is None


def test_goals() -> None:
    assert report.verdict(1.5, ">= 1.5") == "met"
    assert report.verdict(1.4999, ">= 1.5") == "**missed**"
    assert report.verdict(1.06, "<= 1.05") == "**missed**"
    assert report.verdict(None, ">= 1") == "not measured"


def test_a_peer_that_is_not_there() -> None:
    text = report.markdown(run_of(ingest_vecdb_rows_per_second=[300.0], ingest_sqlite_rows_per_second=[100.0]), "x")
    assert "| batches: vecdb / SQLite | 3.00 | >= 1.5 | met |" in text
    assert "| batches: vecdb / RocksDB | - | >= 1.5 | not measured |" in text
    assert "| SQLite, batches | 3 | 100 (100-100) | 3.00 |" in text
    assert "RocksDB, batches" not in text


def test_its_section_of_the_page() -> None:
    page = f"top\n\n{docs.BEGIN}\nann\n{docs.END}\n"
    once = report.insert(page, "one")
    assert once.startswith(page) and once.count("## Storage\n") == 1
    twice = report.insert(once, "two")
    assert twice == once.replace("\none\n", "\ntwo\n")
    assert docs.insert(twice, "new").endswith(twice[twice.index("## Storage"):])
    with pytest.raises(ValueError):
        report.insert(f"{report.END}{report.BEGIN}", "x")
