"""Generated data: clustered vectors of low intrinsic dimension, and patches cut from real images.

Uniform random vectors are unlike any embedding: in them all distances are nearly equal, and no index beats a scan.
Embeddings lie in clusters of very different sizes, and around each cluster on a surface of few dimensions. So here:

    x = centre[c] + basis[c mod BASES] (s * z) * spread[c] + noise,   z ~ N(0, 1)^INTRINSIC

with cluster c drawn by a power law, directions s falling off as a spectrum does, and a little noise in all dimensions.
Centres themselves lie around super-centres. Each block of rows has its own random stream, drawn from (seed, block): the
file is the same whatever the number of blocks made at a time.

Patches are windows of 16 x 8 pixels from the images of a fashion-mnist set, queries from its query images: real data
with real neighbours, as many as memory holds. Windows that are nearly empty are left out, since they are all alike.
"""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import numpy as np

BLOCK_ROWS = 50_000
QUERY_COUNT = 1_000
INTRINSIC = 20
BASES = 32
NOISE = 0.05
CLUSTER_ROWS = 250  # mean rows of a cluster
IMAGE_SIDE = 28
PATCH_HEIGHT, PATCH_WIDTH = 16, 8
PATCH_INK_MIN = 40  # pixels of 128 that are not black
UNITS = {"": 1, "k": 1_000, "m": 1_000_000}


class GenerateError(Exception):
    """A name that says no set, or a source that is not there."""


@dataclasses.dataclass(frozen=True)
class Spec:
    kind: str
    row_count: int
    dimension: int
    seed: int

    def describe(self) -> str:
        if self.kind == "patches":
            return f"patches of {PATCH_HEIGHT} x {PATCH_WIDTH} pixels of fashion-mnist images, seed {self.seed}"
        return f"generated: clusters of intrinsic dimension {INTRINSIC}, seed {self.seed}"


def parse(name: str) -> Spec:
    """KIND-ROWS-DIMENSION[-SEED], as in clustered-1m-768 or patches-200k-128."""
    match = re.fullmatch(r"(clustered|patches)-(\d+)([km]?)-(\d+)(?:-(\d+))?", name)
    if match is None:
        raise GenerateError(f'"{name}" is no KIND-ROWS-DIMENSION[-SEED] with KIND clustered or patches')
    kind, rows, unit, dimension, seed = match.groups()
    spec = Spec(kind, int(rows) * UNITS[unit], int(dimension), int(seed or 1))
    if spec.row_count < 1 or spec.dimension < 1:
        raise GenerateError(f'"{name}": rows and dimension must be at least 1')
    if kind == "patches" and spec.dimension != PATCH_HEIGHT * PATCH_WIDTH:
        raise GenerateError(f'"{name}": patches have {PATCH_HEIGHT * PATCH_WIDTH} dimensions')
    return spec


class _Clusters:
    """The fixed part of a clustered set."""

    def __init__(self, spec: Spec) -> None:
        rng = np.random.default_rng([spec.seed, 0])
        self.dimension = spec.dimension
        self.count = max(4, spec.row_count // CLUSTER_ROWS)
        self.intrinsic = min(INTRINSIC, spec.dimension)
        supers = rng.standard_normal((max(2, round(self.count ** 0.5)), spec.dimension), dtype=np.float32)
        offsets = rng.standard_normal((self.count, spec.dimension), dtype=np.float32)
        self.centres = supers[rng.integers(len(supers), size=self.count)] + 0.6 * offsets
        self.centres *= np.float32(1 / spec.dimension ** 0.5)
        bases = rng.standard_normal((BASES, spec.dimension, self.intrinsic))
        self.bases = np.linalg.qr(bases)[0].astype(np.float32)
        self.spectrum = (1 / np.sqrt(1 + np.arange(self.intrinsic))).astype(np.float32)
        self.spectrum /= np.linalg.norm(self.spectrum)
        self.spreads = rng.lognormal(-0.4, 0.4, self.count).astype(np.float32)
        weights = 1 / (10 + np.arange(self.count)) ** 0.8
        self.weights = np.cumsum(weights / weights.sum())

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        cluster = np.minimum(np.searchsorted(self.weights, rng.random(count)), self.count - 1)
        z = rng.standard_normal((count, self.intrinsic), dtype=np.float32) * self.spectrum
        z *= self.spreads[cluster, None]
        rows = rng.standard_normal((count, self.dimension), dtype=np.float32)
        rows *= np.float32(NOISE / self.dimension ** 0.5)
        rows += self.centres[cluster]
        for basis in range(BASES):
            members = np.flatnonzero(cluster % BASES == basis)
            rows[members] += z[members] @ self.bases[basis].T
        return rows


def clustered(spec: Spec, base_path: Path, queries_path: Path) -> None:
    clusters = _Clusters(spec)
    with _rows_file(base_path, spec, np.float32) as rows:
        for block, begin in enumerate(range(0, spec.row_count, BLOCK_ROWS)):
            count = min(BLOCK_ROWS, spec.row_count - begin)
            rows.array[begin:begin + count] = clusters.draw(np.random.default_rng([spec.seed, 1, block]), count)
    np.save(queries_path, clusters.draw(np.random.default_rng([spec.seed, 2]), QUERY_COUNT))


def patches(spec: Spec, data: Path, base_path: Path, queries_path: Path) -> None:
    folder = data / "fashion-mnist-784"
    sources = [folder / "base.npy", folder / "queries.npy"]
    for source in sources:
        if not source.is_file():
            raise GenerateError(f"patches are cut from {source}, which is not there")
    with _rows_file(base_path, spec, np.uint8) as rows:
        done = 0
        rng = np.random.default_rng([spec.seed, 3])
        images = np.load(sources[0], mmap_mode="r")
        for where in _windows(images, rng):
            cut = _cut(images, where)[:spec.row_count - done]
            rows.array[done:done + len(cut)] = cut
            done += len(cut)
            if done == spec.row_count:
                break
        if done < spec.row_count:
            raise GenerateError(f"{sources[0]} holds {done} patches, not {spec.row_count}")
    images = np.load(sources[1], mmap_mode="r")
    first = next(_windows(images, np.random.default_rng([spec.seed, 4])))
    np.save(queries_path, _cut(images, first)[:QUERY_COUNT])


def _windows(images: np.ndarray, rng: np.random.Generator):
    """All windows of all images in random order, each once, as numbers image * windows + window, in blocks."""
    order = rng.permutation(len(images) * _window_count())
    for begin in range(0, len(order), BLOCK_ROWS):
        yield order[begin:begin + BLOCK_ROWS]


def _window_count() -> int:
    return (IMAGE_SIDE - PATCH_HEIGHT + 1) * (IMAGE_SIDE - PATCH_WIDTH + 1)


def _cut(images: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The patches of those windows that are not nearly empty."""
    across = IMAGE_SIDE - PATCH_WIDTH + 1
    image, window = np.divmod(numbers, _window_count())
    y, x = np.divmod(window, across)
    inside = (np.arange(PATCH_HEIGHT)[:, None] * IMAGE_SIDE + np.arange(PATCH_WIDTH)).reshape(-1)
    cut = images[image[:, None], (y * IMAGE_SIDE + x)[:, None] + inside]
    return cut[np.count_nonzero(cut, axis=1) >= PATCH_INK_MIN]


class _rows_file:
    """A .npy file that appears under its name only when it is whole."""

    def __init__(self, path: Path, spec: Spec, dtype: type) -> None:
        self.path = path
        self.part = path.with_suffix(".part.npy")
        self.array = np.lib.format.open_memmap(self.part, mode="w+", dtype=dtype,
                                               shape=(spec.row_count, spec.dimension))

    def __enter__(self) -> "_rows_file":
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        self.array.flush()
        del self.array
        if kind is None:
            os.replace(self.part, self.path)
        else:
            self.part.unlink()
