"""Puts a run's report into docs/benchmarks.md, between its markers, and the pictures beside it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from bench.ann import report

BEGIN = "<!-- benchmarks: begin (written by make bench; edits here are lost) -->"
END = "<!-- benchmarks: end -->"
FRAME = f"""# Benchmarks

VecDB beside its peers: the same data, the same number of threads, pinned to the same cores, in turn, in one run.
How it is done, and how to repeat it: [bench/README.md](../bench/README.md).

{BEGIN}
{END}
"""


def insert(text: str, body: str) -> str:
    """text with body between the markers. Raises ValueError when they are not there once each, in order."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"the markers {BEGIN} and {END} must stand once each, in this order")
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    return f"{head}{BEGIN}\n\n{body.strip()}\n\n{END}{tail}"


def write(results: dict[str, Any], plots: dict[str, Path], page: Path) -> None:
    """Writes page, and copies the SVGs to the folder of the page's name beside it (those of older runs go)."""
    pictures = page.with_suffix("")
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.glob("*.svg"):
        old.unlink()
    names = {}
    for key, path in plots.items():
        shutil.copyfile(path, pictures / path.name)
        names[key] = f"{pictures.name}/{path.name}"
    text = page.read_text(encoding="utf-8") if page.is_file() else FRAME
    page.write_text(insert(text, report.markdown(results, names)), encoding="utf-8")
