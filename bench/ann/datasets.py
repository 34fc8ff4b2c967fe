"""Data sets: folders (tests/README.md tells the layout), ann-benchmarks HDF5 files, and generated ones by name.

Whatever its source, a set is three .npy files that workers map: rows, queries, ids of the true nearest.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from bench.ann import generate
from bench.ann.truth import nearest

TRUTH_K = 100
WHOLE_ROWS = 4096  # looked at together
METRIC_OF_SET = {"beir-bge-768": "cosine", "wiki-movies-384": "cosine", "cohere-int8-900": "cosine",
                 "deep-1800": "cosine", "movielens-16": "dot"}
HDF5_METRICS = {"euclidean": "l2", "angular": "cosine", "cosine": "cosine", "dot": "dot", "ip": "dot"}
ELEMENTS = {"float32": "f32", "float16": "f16", "uint8": "u8", "int8": "i8"}  # f16 is measured as f32


class DatasetError(Exception):
    """A set that cannot be used; the text says which and why."""


@dataclasses.dataclass
class Dataset:
    name: str
    base_path: Path
    queries_path: Path
    gt_path: Path
    metric: str
    source: str  # one line for the report
    row_count: int = 0
    query_count: int = 0
    dimension: int = 0
    element: str = ""
    whole: bool = False  # every element of rows and queries is a whole number

    def __post_init__(self) -> None:
        base, queries, truth = self.base(), self.queries(), self.gt_ids()
        for name, array in (("rows", base), ("queries", queries), ("ground truth", truth)):
            if array.ndim != 2 or 0 in array.shape:
                raise DatasetError(f"{self.name}: {name}: shape {array.shape} instead of two dimensions, none empty")
        if base.dtype.name not in ELEMENTS or queries.dtype != base.dtype:
            raise DatasetError(f"{self.name}: rows of {base.dtype}, queries of {queries.dtype}; both must be one of "
                               f"{', '.join(ELEMENTS)}")
        if base.shape[1] != queries.shape[1]:
            raise DatasetError(f"{self.name}: rows have {base.shape[1]} dimensions, queries {queries.shape[1]}")
        if len(truth) < len(queries):
            raise DatasetError(f"{self.name}: {len(queries)} queries, but ground truth of {len(truth)}")
        self.row_count, self.dimension = base.shape
        self.query_count = len(queries)
        self.element = ELEMENTS[base.dtype.name]
        self.whole = whole_numbers(base) and whole_numbers(queries)

    def base(self) -> np.ndarray:
        return np.load(self.base_path, mmap_mode="r")

    def queries(self) -> np.ndarray:
        return np.load(self.queries_path, mmap_mode="r")

    def gt_ids(self) -> np.ndarray:
        return np.load(self.gt_path, mmap_mode="r")

    def as_json(self) -> dict[str, object]:
        return {"name": self.name, "rows": self.row_count, "queries": self.query_count, "dimension": self.dimension,
                "element": self.element, "whole_numbers": self.whole, "metric": self.metric, "source": self.source}


def whole_numbers(array: np.ndarray) -> bool:
    """Whether all are; as a rule the first block of those that are not tells."""
    if array.dtype.kind in "iu":
        return True
    return all(bool((block == np.rint(block)).all())
               for block in (array[begin:begin + WHOLE_ROWS] for begin in range(0, len(array), WHOLE_ROWS)))


def from_folder(folder: Path, metric: str = "") -> Dataset:
    for name in ("base.npy", "queries.npy", "gt_ids.npy"):
        if not (folder / name).is_file():
            raise DatasetError(f"{folder}: {name} is missing")
    metric = metric or METRIC_OF_SET.get(folder.name, "l2")
    try:
        return Dataset(folder.name, folder / "base.npy", folder / "queries.npy", folder / "gt_ids.npy", metric,
                       "real data, a folder of data sets")
    except (ValueError, OSError) as error:
        raise DatasetError(f"{folder}: {error}") from None


def from_hdf5(path: Path, cache: Path, metric: str = "") -> Dataset:
    """train, test, neighbors of an ann-benchmarks file, laid out once as .npy files under cache."""
    try:
        import h5py
    except ImportError:
        raise DatasetError(f"{path}: HDF5 needs the Python package h5py (tools/setup bench)") from None
    folder = cache / f"{path.stem}-{path.stat().st_size}"
    try:
        with h5py.File(path, "r") as file:
            missing = [name for name in ("train", "test", "neighbors") if name not in file]
            if missing:
                raise DatasetError(f"{path}: no dataset {', '.join(missing)}; ann-benchmarks files have train, test "
                                   "and neighbors")
            named = str(file.attrs.get("distance", "euclidean"))
            if not metric and named not in HDF5_METRICS:
                raise DatasetError(f'{path}: distance "{named}" is none of {", ".join(HDF5_METRICS)}')
            metric = metric or HDF5_METRICS[named]
            if not (folder / "gt_ids.npy").is_file():
                folder.mkdir(parents=True, exist_ok=True)
                for source, target in (("train", "base"), ("test", "queries"), ("neighbors", "gt_ids")):
                    _copy_hdf5(file[source], folder / f"{target}.npy")
    except OSError as error:
        raise DatasetError(f"{path}: {error}") from None
    return Dataset(path.stem, folder / "base.npy", folder / "queries.npy", folder / "gt_ids.npy", metric,
                   "ann-benchmarks HDF5 file")


def _copy_hdf5(source: object, target: Path) -> None:
    dtype = source.dtype  # type: ignore[attr-defined]
    if dtype == np.float64:
        dtype = np.dtype(np.float32)
    part = target.with_suffix(".part.npy")
    out = np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=source.shape)  # type: ignore[attr-defined]
    for begin in range(0, len(out), 65536):
        out[begin:begin + 65536] = source[begin:begin + 65536]  # type: ignore[index]
    out.flush()
    os.replace(part, target)


def generated(name: str, cache: Path, data: Path, say=print) -> Dataset:
    """A generated set by its name, made once: `clustered-200k-128`, `clustered-1m-768`, `patches-1m-128`."""
    spec = generate.parse(name)
    folder = cache / name
    base_path, queries_path, gt_path = (folder / f"{part}.npy" for part in ("base", "queries", "gt_ids"))
    if not (base_path.is_file() and queries_path.is_file()):
        folder.mkdir(parents=True, exist_ok=True)
        say(f"making {name} in {folder}")
        if spec.kind == "clustered":
            generate.clustered(spec, base_path, queries_path)
        else:
            generate.patches(spec, data, base_path, queries_path)
    if not gt_path.is_file():
        say(f"ground truth of {name}: every distance, once")
        k = min(TRUTH_K, spec.row_count)
        truth = nearest(np.load(base_path, mmap_mode="r"), np.load(queries_path), "l2", k)
        part = gt_path.with_suffix(".part.npy")
        np.save(part, truth)
        os.replace(part, gt_path)
    return Dataset(name, base_path, queries_path, gt_path, "l2", spec.describe())


def find(name: str, data: Path, cache: Path, metric: str = "", say=print) -> Dataset:
    """By path (a folder or an .hdf5 file), as a folder of `data`, or as the name of a generated set."""
    path = Path(name)
    if path.suffix in (".hdf5", ".h5"):
        if not path.is_file():
            raise DatasetError(f"{path}: no such file")
        return from_hdf5(path, cache, metric)
    if (data / name).is_dir():
        return from_folder(data / name, metric)
    if path.is_dir():
        return from_folder(path, metric)
    try:
        generate.parse(name)
        if metric not in ("", "l2"):
            raise DatasetError(f"{name}: metric {metric}: the ground truth of generated sets is of l2")
        return generated(name, cache, data, say)
    except generate.GenerateError as error:
        raise DatasetError(f"{name}: no folder of {data}, and {error}") from None
