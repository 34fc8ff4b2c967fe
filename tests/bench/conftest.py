"""The library under test and a tiny set, once for all tests of the benchmark harness."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from harness_world import ROOT, SPEC

from bench.ann import datasets

BUILD = Path(os.environ.get("VECDB_BIN_DIR", ROOT / "build" / "release"))


@pytest.fixture(scope="session")
def library() -> Path:
    """The shared library vecdb_bench of the build under test, built if need be."""
    cache = (BUILD / "CMakeCache.txt").read_text(encoding="utf-8")
    if "VECDB_SANITIZE:STRING=\n" not in cache:
        pytest.skip("a sanitized library does not load into a plain python")
    built = subprocess.run(["cmake", "--build", str(BUILD), "--target", "vecdb_bench"], capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return BUILD / "libvecdb_bench.so"


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("bench-data")


@pytest.fixture(scope="session")
def dataset(cache: Path) -> datasets.Dataset:
    return datasets.generated(SPEC, cache, cache, say=lambda text: None)
