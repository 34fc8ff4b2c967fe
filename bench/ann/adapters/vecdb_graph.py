"""VecDB's graphs, through the shared library vecdb_bench (vecdb_bench_graph.h): HNSW and the quantised graph.

Rows stay mapped from their file, as a collection's segments have them; who measures answers on them again says so.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

import numpy as np

from bench.ann.adapters import vecdb
from bench.ann.adapters.base import Adapter, Unsupported

ELEMENTS = dict(vecdb.ELEMENTS, float16=3)  # pinned in src/base/element.h
INSIDE = {"f32": 0, "f16": 3}
HNSW, QGRAPH = 0, 1  # enum vecdb_bench_kind


class Options(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("kind", "m", "ef_construction", "inside", "compact")]


class Stats(ctypes.Structure):
    _fields_ = [("index_bytes", ctypes.c_uint64), ("vector_bytes", ctypes.c_uint64), ("code_bits", ctypes.c_uint32)]


def load() -> ctypes.CDLL:
    library = vecdb.load()
    job, options, text = ctypes.POINTER(vecdb.Job), ctypes.POINTER(Options), vecdb.Text
    out = ctypes.POINTER(ctypes.c_void_p)
    for name, arguments in (
            ("build", [job, options, out, text]),
            ("search", [ctypes.c_void_p, job, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p, text]),
            ("save", [ctypes.c_void_p, ctypes.c_char_p, text]),
            ("load", [job, options, ctypes.c_char_p, out, text])):
        function = getattr(library, f"vecdb_bench_graph_{name}")
        function.argtypes, function.restype = arguments, ctypes.c_int
    library.vecdb_bench_graph_get_stats.argtypes = [ctypes.c_void_p, ctypes.POINTER(Stats)]
    library.vecdb_bench_graph_get_stats.restype = None
    library.vecdb_bench_graph_destroy.argtypes = [ctypes.c_void_p]
    library.vecdb_bench_graph_destroy.restype = None
    return library


class Graph(Adapter):
    kind = HNSW
    one_by_one = False

    def __init__(self) -> None:
        self.library = load()
        self.graph = ctypes.c_void_p()
        self.threads = 1

    def __del__(self) -> None:
        if getattr(self, "graph", None):
            self.library.vecdb_bench_graph_destroy(self.graph)

    def version(self) -> str:
        return vecdb.describe(self.library)

    def prepare(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> tuple[vecdb.Job, Options]:
        if data.dtype.name not in ELEMENTS or metric not in vecdb.METRICS:
            raise Unsupported(f"{data.dtype} with metric {metric}")
        mapped = isinstance(data, np.memmap) and data.flags.c_contiguous
        self.rows = data if mapped else vecdb.aligned_copy(data, data.dtype)
        self.metric = metric
        options = Options(self.kind, params.get("m", 0), params.get("ef_construction", 0),
                          INSIDE[params.get("inside", "f32")], params.get("compact", 0))
        return self.job(None, 0, threads), options

    def job(self, queries: np.ndarray | None, k: int, threads: int) -> vecdb.Job:
        at, count = (None, 0) if queries is None else (queries.ctypes.data, len(queries))
        return vecdb.Job(self.rows.ctypes.data, at, len(self.rows), count, self.rows.shape[1], k,
                         ELEMENTS[self.rows.dtype.name], vecdb.METRICS[self.metric], threads)

    def call(self, name: str, *arguments: Any) -> None:
        buffer = ctypes.create_string_buffer(vecdb.ERROR_BYTES)
        text = vecdb.Text(ctypes.cast(buffer, ctypes.c_char_p), vecdb.ERROR_BYTES)
        if getattr(self.library, f"vecdb_bench_graph_{name}")(*arguments, text) != 0:
            raise RuntimeError(buffer.value.decode(errors="replace"))

    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        job, options = self.prepare(data, metric, params, threads)
        self.call("build", ctypes.byref(job), ctypes.byref(options), ctypes.byref(self.graph))

    def save(self, folder: str) -> None:
        self.call("save", self.graph, os.path.join(folder, "index").encode())

    def load(self, folder: str, data: np.ndarray, metric: str, params: dict[str, Any]) -> None:
        job, options = self.prepare(data, metric, params, 1)
        self.call("load", ctypes.byref(job), ctypes.byref(options), os.path.join(folder, "index").encode(),
                  ctypes.byref(self.graph))

    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        queries = np.ascontiguousarray(queries)
        if queries.dtype != self.rows.dtype or queries.shape[1] != self.rows.shape[1]:
            raise ValueError(f"rows are {self.rows.dtype} x {self.rows.shape[1]}, queries {queries.dtype} x "
                             f"{queries.shape[1]}")
        ids = np.empty((len(queries), k), dtype=np.uint32)
        job = self.job(queries, k, self.threads)
        self.call("search", self.graph, ctypes.byref(job), max(params["ef"], k), self.one_by_one,
                  ids.ctypes.data)
        out = ids.astype(np.int64)
        out[ids == vecdb.NO_ROW] = -1
        return out

    def set_threads(self, threads: int) -> None:
        self.threads = threads

    def stats(self) -> Stats:
        out = Stats()
        self.library.vecdb_bench_graph_get_stats(self.graph, ctypes.byref(out))
        return out

    def index_bytes(self) -> int | None:
        return int(self.stats().index_bytes)


class Hnsw(Graph):
    """f32 vectors inside, as hnswlib has them, or f16."""

    kind = HNSW

    def note(self) -> str:
        width = self.stats().vector_bytes // max(1, self.rows.size)
        return "f32 vectors inside" if width >= 4 else "f16 vectors inside; answers measured again on the mapped rows"


class Qgraph(Graph):
    """Over the rows as they are."""

    kind = QGRAPH

    def note(self) -> str:
        exact = self.rows.dtype.name in ("uint8", "int8") and self.metric == "l2"
        again = "" if exact else "; answers measured again on the mapped rows"
        bits = self.stats().code_bits
        return ((f"{bits} bits a neighbour" if bits else "compact: no codes of neighbours") + again
                + ("; one query at a time" if self.one_by_one else ""))


class QgraphOne(Qgraph):
    """Without what a batch allows."""

    one_by_one = True
