"""Who takes part: each entry's name, the module and class of its adapter, and the package it needs.

An adapter's module is imported in its own subprocess only (worker.py), so that no library sees another one.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

from bench.ann.adapters.base import Adapter


@dataclasses.dataclass(frozen=True)
class Entry:
    """One participant: an adapter with its build parameters and the search parameters it is swept over."""

    name: str
    module: str
    cls: str
    package: str  # the distribution that must be installed; "" for ours and numpy
    exact: bool = False
    build: dict[str, Any] = dataclasses.field(default_factory=dict)
    sweep: tuple[dict[str, Any], ...] = ({},)
    at_least_k: str = ""  # the parameter of the sweep that may not be below k, for graphs
    element: str = "f32"  # what the rows are made of: "u8" takes part only where the data are u8; "own": as they are
    batch: bool = False  # also asked how much faster all cores answer a batch
    alone: bool = False  # also built by one thread, for how well threads share the work
    one_by_one: bool = False  # answers a query at a time: gets fewer of them where a scan is slow
    named: bool = False  # takes part only when it is asked for by its name
    folder: str = ""  # of build/venv-bench/peers, in front of the shared packages

    @property
    def ours(self) -> bool:
        return self.name.startswith("vecdb-")

    def make(self) -> Adapter:
        module = importlib.import_module(f"bench.ann.adapters.{self.module}")
        return getattr(module, self.cls)()


def _sweep(key: str, *values: Any) -> tuple[dict[str, Any], ...]:
    return tuple({key: value} for value in values)


# One graph for all of that family, so that what differs is the code: 16 links (32 at the bottom), 200 while building.
GRAPH = {"m": 16, "ef_construction": 200}
EF = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
EF_LOW = (2, 5, *EF)  # below 10 only where k is 1
EF_QUANTISED = (2, 4, 7, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512, 768)
NPROBE = (1, 2, 4, 8, 16, 32, 64, 128)

_EXACT = [
    Entry("vecdb-exact", "vecdb", "Exact", "", exact=True),
    Entry("vecdb-exact-u8", "vecdb", "Exact", "", exact=True, element="u8"),
    Entry("vecdb-flat", "vecdb", "Flat", "", exact=True, one_by_one=True),
    Entry("vecdb-flat-u8", "vecdb", "Flat", "", exact=True, element="u8", one_by_one=True),
    Entry("faiss-flat", "faiss_adapters", "Flat", "faiss-cpu", exact=True),
    Entry("usearch-exact", "usearch_adapters", "Exact", "usearch", exact=True, one_by_one=True),
    Entry("scann-brute", "scann_adapters", "Brute", "scann", exact=True),
    Entry("svs-flat", "svs_adapters", "Flat", "scalable-vs", exact=True),
    Entry("hnswlib-bf", "hnswlib_adapters", "BruteForce", "hnswlib", exact=True, one_by_one=True,
          folder="hnswlib-native"),
    Entry("numpy-brute", "brute", "Brute", "", exact=True),
]

_APPROXIMATE = [
    Entry("vecdb-qgraph", "vecdb_graph", "Qgraph", "", sweep=_sweep("ef", *EF_QUANTISED), at_least_k="ef",
          element="own", batch=True, alone=True),
    Entry("vecdb-qgraph-one", "vecdb_graph", "QgraphOne", "", sweep=_sweep("ef", *EF_QUANTISED), at_least_k="ef",
          element="own", named=True),
    Entry("vecdb-qgraph-compact", "vecdb_graph", "Qgraph", "", build={"compact": 1}, sweep=_sweep("ef", *EF_QUANTISED),
          at_least_k="ef", element="own"),
    Entry("vecdb-hnsw", "vecdb_graph", "Hnsw", "", build=GRAPH, sweep=_sweep("ef", *EF_LOW), at_least_k="ef",
          batch=True, alone=True),
    Entry("vecdb-hnsw-f16", "vecdb_graph", "Hnsw", "", build=dict(GRAPH, inside="f16"), sweep=_sweep("ef", *EF_LOW),
          at_least_k="ef"),
    Entry("hnswlib-native", "hnswlib_adapters", "Hnsw", "hnswlib", build=GRAPH, sweep=_sweep("ef", *EF_LOW),
          at_least_k="ef", folder="hnswlib-native", batch=True),
    Entry("hnswlib", "hnswlib_adapters", "Hnsw", "hnswlib", build=GRAPH, sweep=_sweep("ef", *EF_LOW), at_least_k="ef"),
    Entry("faiss-hnsw", "faiss_adapters", "Hnsw", "faiss-cpu", build=GRAPH, sweep=_sweep("ef", *EF_LOW),
          at_least_k="ef"),
    Entry("faiss-ivf", "faiss_adapters", "Ivf", "faiss-cpu", sweep=_sweep("nprobe", *NPROBE)),
    Entry("faiss-ivfpqfs", "faiss_adapters", "IvfPqFastScan", "faiss-cpu",
          sweep=tuple({"nprobe": n, "refine": r} for n in NPROBE for r in (4, 16))),
    Entry("usearch", "usearch_adapters", "Hnsw", "usearch", build=GRAPH, sweep=_sweep("ef", *EF), at_least_k="ef"),
    Entry("voyager", "voyager_adapter", "Hnsw", "voyager", build=GRAPH, sweep=_sweep("ef", *EF), at_least_k="ef"),
    Entry("scann", "scann_adapters", "Tree", "scann",
          sweep=tuple({"leaves": n, "reorder": r} for n in NPROBE for r in (4, 16))),
    Entry("ngt-anng", "ngt_adapter", "Anng", "ngt",
          sweep=_sweep("epsilon", 0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3)),
    Entry("diskann", "diskann_adapter", "Memory", "diskannpy", build={"degree": 32, "complexity": 100},
          sweep=_sweep("complexity", *EF), at_least_k="complexity", folder="diskannpy"),
    Entry("svs-vamana", "svs_adapters", "Vamana", "scalable-vs", build={"degree": 32, "complexity": 100},
          sweep=_sweep("window", *EF), at_least_k="window"),
    Entry("svs-lvq", "svs_adapters", "Lvq", "scalable-vs", build={"degree": 32, "complexity": 100},
          sweep=_sweep("window", *EF), at_least_k="window"),
    Entry("rabitq-symqg", "rabitq_adapters", "Symqg", "rabitqlib", build={"degree": 32, "ef_construction": 200},
          sweep=_sweep("ef", *EF_LOW), at_least_k="ef"),
    Entry("rabitq-ivf", "rabitq_adapters", "Ivf", "rabitqlib", sweep=_sweep("nprobe", *NPROBE)),
    Entry("vsag", "vsag_adapter", "HGraph", "pyvsag", build={"degree": 32, "ef_construction": 200},
          sweep=_sweep("ef", *EF), at_least_k="ef"),
    Entry("nmslib", "nmslib_adapter", "Hnsw", "nmslib", build=GRAPH, sweep=_sweep("ef", *EF), at_least_k="ef"),
    Entry("pynndescent", "pynndescent_adapter", "Descent", "pynndescent", build={"neighbors": 30},
          sweep=_sweep("epsilon", 0.0, 0.02, 0.05, 0.08, 0.12, 0.16, 0.2, 0.3)),
    Entry("annoy", "annoy_adapter", "Trees", "annoy", build={"trees": 50},
          sweep=_sweep("search_k", 500, 1000, 2000, 5000, 10000, 20000, 50000)),
]

ENTRIES: dict[str, Entry] = {entry.name: entry for entry in _EXACT + _APPROXIMATE}
EXACT: list[str] = [entry.name for entry in _EXACT]
APPROXIMATE: list[str] = [entry.name for entry in _APPROXIMATE if not entry.named]
