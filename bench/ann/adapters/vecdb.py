"""VecDB's exact searches, through the shared library vecdb_bench (vecdb_bench.h)."""

from __future__ import annotations

import ctypes
import os
from typing import Any

import numpy as np

from bench.ann.adapters.base import Adapter, Unsupported

ELEMENTS = {"float32": 0, "uint8": 1, "int8": 2}  # pinned in src/base/element.h
METRICS = {"l2": 0, "cosine": 1, "dot": 2}
NO_ROW = 0xFFFFFFFF
READ_LOOPS = ("plain", "ahead", "streams")  # enum vecdb_bench_loop
ERROR_BYTES = 1024


class Text(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("bytes", ctypes.c_size_t)]


class Job(ctypes.Structure):
    _fields_ = [
        ("rows", ctypes.c_void_p),
        ("queries", ctypes.c_void_p),
        ("row_count", ctypes.c_uint64),
        ("query_count", ctypes.c_uint64),
        ("dimension", ctypes.c_uint64),
        ("k", ctypes.c_uint64),
        ("element", ctypes.c_uint32),
        ("metric", ctypes.c_uint32),
        ("threads", ctypes.c_uint32),
    ]


def library_path() -> str:
    return os.environ.get("VECDB_BENCH_LIB", "build/release/libvecdb_bench.so")


def load() -> ctypes.CDLL:
    path = library_path()
    if not os.path.isfile(path):
        raise Unsupported(f"{path} is missing: build the target vecdb_bench, or set VECDB_BENCH_LIB")
    library = ctypes.CDLL(os.path.abspath(path))
    for name in ("vecdb_bench_flat", "vecdb_bench_split", "vecdb_bench_exact"):
        function = getattr(library, name)
        function.argtypes = [ctypes.POINTER(Job), ctypes.c_void_p, Text]
        function.restype = ctypes.c_int
    library.vecdb_bench_describe.argtypes = [Text]
    library.vecdb_bench_describe.restype = None
    library.vecdb_bench_read.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint32,
                                         ctypes.POINTER(ctypes.c_double), Text]
    library.vecdb_bench_read.restype = ctypes.c_int
    return library


def describe(library: ctypes.CDLL) -> str:
    buffer = ctypes.create_string_buffer(ERROR_BYTES)
    library.vecdb_bench_describe(Text(ctypes.cast(buffer, ctypes.c_char_p), ERROR_BYTES))
    return f"this tree, {buffer.value.decode()}"


def search(library: ctypes.CDLL, function: str, rows: np.ndarray, queries: np.ndarray, k: int, metric: str,
           threads: int) -> tuple[np.ndarray, str]:
    """Calls one of the library's searches: row numbers, and what it says about how. rows and queries: C-contiguous,
    of one type. Raises on its errors."""
    if rows.dtype != queries.dtype or rows.shape[1] != queries.shape[1]:
        raise ValueError(f"rows are {rows.dtype} x {rows.shape[1]}, queries {queries.dtype} x {queries.shape[1]}")
    if rows.dtype.name not in ELEMENTS or metric not in METRICS:
        raise Unsupported(f"{rows.dtype} with metric {metric}")
    if not (rows.flags.c_contiguous and queries.flags.c_contiguous):
        raise ValueError("rows and queries must be contiguous")
    ids = np.empty((len(queries), k), dtype=np.uint32)
    buffer = ctypes.create_string_buffer(ERROR_BYTES)
    error = Text(ctypes.cast(buffer, ctypes.c_char_p), ERROR_BYTES)
    job = Job(rows.ctypes.data, queries.ctypes.data, len(rows), len(queries), rows.shape[1], k,
              ELEMENTS[rows.dtype.name], METRICS[metric], threads)
    if getattr(library, function)(ctypes.byref(job), ids.ctypes.data, error) != 0:
        raise RuntimeError(f"{function}: {buffer.value.decode(errors='replace')}")
    out = ids.astype(np.int64)
    out[ids == NO_ROW] = -1
    return out, buffer.value.decode(errors="replace")


def read_seconds(library: ctypes.CDLL, data: np.ndarray, threads: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of each of `repeats` reads over data, by every loop there is."""
    seconds = (ctypes.c_double * (repeats * len(READ_LOOPS)))()
    buffer = ctypes.create_string_buffer(ERROR_BYTES)
    error = Text(ctypes.cast(buffer, ctypes.c_char_p), ERROR_BYTES)
    if library.vecdb_bench_read(data.ctypes.data, data.nbytes, threads, repeats, seconds, error) != 0:
        raise RuntimeError(buffer.value.decode(errors="replace"))
    return {name: list(seconds[i * repeats:(i + 1) * repeats]) for i, name in enumerate(READ_LOOPS)}


def aligned_copy(data: np.ndarray, dtype: Any) -> np.ndarray:
    """A copy in memory of its own (no file's pages) that begins at a cache line."""
    dtype = np.dtype(dtype)
    raw = np.empty(data.size * dtype.itemsize + 64, dtype=np.uint8)
    begin = -raw.ctypes.data % 64
    out = raw[begin:begin + data.size * dtype.itemsize].view(dtype).reshape(data.shape)
    out[...] = data
    return out


class Exact(Adapter):
    """Batch search (src/index/exact.h): all queries of a call at once."""

    function = "vecdb_bench_exact"

    def __init__(self) -> None:
        self.library = load()
        self.threads = 1
        self.how = ""

    def version(self) -> str:
        return describe(self.library)

    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        self.metric = metric
        self.rows = aligned_copy(data, params.get("element", data.dtype))

    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        queries = np.ascontiguousarray(queries, dtype=self.rows.dtype)
        ids, self.how = search(self.library, self.function, self.rows, queries, k, self.metric, self.threads)
        return ids

    def set_threads(self, threads: int) -> None:
        self.threads = threads

    def index_bytes(self) -> int | None:
        return self.rows.nbytes

    def note(self) -> str:
        return "all queries as one batch" + (f": {self.how}" if self.how else "")


class Flat(Exact):
    """A query at a time (vdb_index_flat), as a server answers them; the queries dealt out over the threads."""

    function = "vecdb_bench_flat"

    def note(self) -> str:
        return "one query at a time"
