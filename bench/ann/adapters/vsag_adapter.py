"""VSAG: its HGraph over 8-bit codes, re-ranked by full vectors."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyvsag

from bench.ann.adapters.base import Adapter, Unsupported, as_f32, padded, require_metric

METRICS = {"l2": "l2", "cosine": "cosine", "dot": "ip"}


class HGraph(Adapter):
    def version(self) -> str:
        return str(pyvsag.__version__)

    def build(self, data: np.ndarray, metric: str, params: dict[str, Any], threads: int) -> None:
        require_metric(metric, *METRICS)
        pyvsag.set_logger_off()
        rows, dimension = data.shape
        self.index = pyvsag.Index("hgraph", json.dumps({
            "dtype": "float32", "metric_type": METRICS[metric], "dim": dimension,
            "index_param": {"base_quantization_type": "sq8_uniform", "use_reorder": True,
                            "precise_quantization_type": "fp32", "max_degree": params["degree"],
                            "ef_construction": params["ef_construction"], "build_thread_count": threads}}))
        self.index.build(as_f32(data).reshape(-1), np.arange(rows, dtype=np.int64), rows, dimension)

    def search(self, queries: np.ndarray, k: int, params: dict[str, Any]) -> np.ndarray:
        words = json.dumps({"hgraph": {"ef_search": max(params["ef"], k)}})
        return padded([self.index.knn_search(query, k, words)[0] for query in queries], k)

    def set_threads(self, threads: int) -> None:
        if threads != 1:
            raise Unsupported("its Python interface searches with one thread")

    def note(self) -> str:
        return "8-bit codes, re-ranked by full vectors; one query at a time from Python"
