"""Peers' indexes over large sets, kept from one run to the next: some take half an hour to build.

A folder for each set and participant, below the generated data: what the library saved, and `built.json`, which says
what building it took, with how many threads, on which machine and when. An index is taken from there only if data,
parameters, processor and the library's version are those of now. Our own indexes are never kept: they are what is being
developed.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

RECORD = "built.json"


def identity(base: Path, params: dict[str, Any], metric: str, processor: str) -> dict[str, Any]:
    """What must be the same for a kept index to be of use, but for the version, which only the library knows."""
    about = os.stat(base)
    rows, dimension = np.load(base, mmap_mode="r").shape
    return {"rows": rows, "dimension": dimension, "base_bytes": about.st_size, "base_changed_ns": about.st_mtime_ns,
            "params": params, "metric": metric, "processor": processor}


def find(folder: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The record of the index kept in folder, if it is the one that is wanted."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("identity") == wanted else None


def keep(folder: Path, adapter: Any, record: dict[str, Any]) -> None:
    """Saves what adapter has built, under its name only when it is whole."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        adapter.save(str(part))
        (part / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
