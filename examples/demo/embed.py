"""Texts to vectors: TF-IDF and a truncated SVD (latent semantic analysis), both by scikit-learn, cached on disk.

Plain latent semantic analysis projects each document on the strongest directions of the whole corpus, and a word
that is rare in the corpus all but vanishes: "edit photos" then finds any editor. So the SVD is used for what it
is good at, the likeness of words, and each word's vector is scaled to length one before documents are summed from
them:

    words      W = normalise_rows(V * sqrt(S))        from X = U S V^T, X the TF-IDF matrix
    documents  D = normalise_rows(X W)                a query is embedded as if it were a document

The vectors have 256 dimensions, or what the data allows when there are fewer texts or words.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np

from corpus import Corpus, CorpusError, Document

DIMENSION_MAX = 256

WORD = re.compile(r"[^\W_]+")
SUFFIXES = ("ation", "ator", "ing", "ion", "ors", "ers", "er", "or", "ed")
FILLERS = frozenset("my me our your use uses using used based want like".split())


def stem(word: str) -> str:
    """Makes "record", "records", "recorder" and "recording" one word. Rough, but it never needs a dictionary."""
    if len(word) > 4:
        if word.endswith("ies"):
            word = word[:-3] + "y"
        elif word.endswith(("xes", "ches", "shes", "sses", "zes")):
            word = word[:-2]
        elif word.endswith("s") and not word.endswith("ss"):
            word = word[:-1]
    for suffix in SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 4:
            word = word[: -len(suffix)]
            break
    if len(word) > 4 and word.endswith("e"):
        word = word[:-1]
    if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "sl":
        word = word[:-1]
    return word


def make_analyzer() -> Callable[[str], list[str]]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    stop = ENGLISH_STOP_WORDS | FILLERS

    def analyze(text: str) -> list[str]:
        return [stem(word) for word in WORD.findall(text.lower()) if word not in stop]

    return analyze


@dataclass
class Embedder:
    vectors: np.ndarray  # (documents, dimension) float32; a row of zeros: the text has no word to go by
    seconds: float  # what making them took; 0 when they came from the cache
    vectorizer: Any
    word_vectors: np.ndarray

    @property
    def dimension(self) -> int:
        return int(self.vectors.shape[1])

    def query(self, text: str) -> np.ndarray:
        """The vector of a query; zeros when it has no word of the corpus."""
        return unit_rows(np.asarray(self.vectorizer.transform([text]) @ self.word_vectors))[0]


def unit_rows(matrix: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(matrix.astype(np.float64), axis=1, keepdims=True)
    return np.divide(matrix, lengths, out=np.zeros(matrix.shape), where=lengths > 1e-9).astype(np.float32)


def cache_key(corpus: Corpus) -> str:
    """Changes with the texts, with the code that makes documents and vectors of them, and with the libraries."""
    import sklearn

    key = hashlib.sha256(f"{corpus.key} sklearn {sklearn.__version__} numpy {np.__version__}".encode())
    for source in ("corpus.py", "embed.py"):
        key.update((Path(__file__).parent / source).read_bytes())
    return key.hexdigest()[:16]


def embed(corpus: Corpus, cache: Path, clock: Callable[[], float]) -> Embedder:
    """The corpus's embeddings, from the cache when they are there; older ones of this collection are removed."""
    folder = cache / f"{corpus.name}-{cache_key(corpus)}"
    if (folder / "complete").exists():
        return load(folder)
    started = clock()
    embedder = compute(corpus.documents)
    embedder.seconds = clock() - started
    for old in cache.glob(f"{corpus.name}-*"):
        shutil.rmtree(old)
    save(embedder, folder)
    return embedder


def new_vectorizer(**settings: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(analyzer=make_analyzer(), sublinear_tf=True, dtype=np.float32, **settings)


def compute(documents: Sequence[Document]) -> Embedder:
    from sklearn.decomposition import TruncatedSVD

    # In a large corpus a word that stands in a handful of documents says little about likeness.
    count = len(documents)
    vectorizer = new_vectorizer(min_df=1 if count < 1_000 else 2 if count < 10_000 else 5)
    try:
        weights = vectorizer.fit_transform([document.text for document in documents])
    except ValueError:
        raise CorpusError("no text has a word to search by") from None
    components = min(DIMENSION_MAX, *weights.shape)
    if weights.shape[1] < 2:
        words = np.ones((1, 1), dtype=np.float32)
    else:
        with warnings.catch_warnings():
            # A single text has no variance to explain; scikit-learn says so by a division by zero.
            warnings.simplefilter("ignore", RuntimeWarning)
            svd = TruncatedSVD(components, n_iter=5, random_state=0).fit(weights)
        words = unit_rows(svd.components_.T * np.sqrt(svd.singular_values_))
    return Embedder(unit_rows(weights @ words), 0.0, vectorizer, words)


def save(embedder: Embedder, folder: Path) -> None:
    folder.mkdir(parents=True)
    np.save(folder / "vectors.npy", embedder.vectors)
    np.save(folder / "word_vectors.npy", embedder.word_vectors)
    np.save(folder / "idf.npy", embedder.vectorizer.idf_)
    words = embedder.vectorizer.get_feature_names_out().tolist()
    (folder / "words.json").write_text(json.dumps(words), encoding="utf-8")
    (folder / "complete").touch()  # last: a half-written cache is never read


def load(folder: Path) -> Embedder:
    vectorizer = new_vectorizer(vocabulary=json.loads((folder / "words.json").read_text(encoding="utf-8")))
    vectorizer.idf_ = np.load(folder / "idf.npy")
    return Embedder(np.load(folder / "vectors.npy"), 0.0, vectorizer, np.load(folder / "word_vectors.npy"))
