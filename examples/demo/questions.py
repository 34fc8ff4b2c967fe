"""What the demo asks: searches that suit the texts, one of them filtered, and how to show an answer's row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable

from corpus import Corpus, Document

QUERY_WORDS = 7


@dataclass(frozen=True)
class Question:
    text: str
    filter: dict[str, Any] | None = None  # what the server is given
    in_words: str = ""
    passes: Callable[[dict[str, Any]], bool] = lambda metadata: (
        True
    )  # the same filter, said independently in Python


def questions_for(corpus: Corpus, own: Sequence[str]) -> list[Question]:
    """`own` queries of the user take the place of the built-in ones; a filtered one always comes last."""
    if corpus.name == "debian-packages":
        texts = list(own) or ["record my screen", "compress files fast", "find duplicate files"]
        return [*map(Question, texts), small_graphics(own[-1] if own else "edit photos")]
    texts = list(own) or sample_queries(corpus.documents)
    filtered = filter_by_commonest_value(texts[-1], corpus.documents)
    return [*map(Question, texts), *([filtered] if filtered else [])]


def small_graphics(text: str) -> Question:
    conditions = [
        {"field": "section", "op": "==", "value": "graphics"},
        {"field": "size_kib", "op": "<", "value": 5000},
    ]
    return Question(
        text,
        {"and": conditions},
        "section is graphics and size_kib < 5000",
        lambda metadata: metadata["section"] == "graphics" and metadata.get("size_kib", 5000) < 5000,
    )


def sample_queries(documents: Sequence[Document]) -> list[str]:
    """The opening words of three texts, from the beginning, middle and end: each should find its text again."""
    chosen = sorted({len(documents) * part // 6 for part in (1, 3, 5)})
    return [" ".join(documents[i].text.split()[:QUERY_WORDS]) for i in chosen]


def filter_by_commonest_value(text: str, documents: Sequence[Document]) -> Question | None:
    """Equality with the commonest value of the first field that tells some texts from others."""
    fields: dict[str, Counter[Any]] = {}
    for document in documents:
        for name, value in document.metadata.items():
            if name != "text" and isinstance(value, (bool, str)) and len(str(value)) <= 40:
                fields.setdefault(name, Counter())[type(value), value] += 1
    for name, values in fields.items():
        (kind, value), count = values.most_common(1)[0]
        if 1 <= count < len(documents):
            return equality(text, name, kind, value)
    return None


def equality(text: str, name: str, kind: type, value: Any) -> Question:
    return Question(
        text,
        {"field": name, "op": "==", "value": value},
        f"{name} is {value}",
        lambda metadata: type(metadata.get(name)) is kind and metadata[name] == value,
    )


# ---- Rows of the answer tables -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    heads: list[str]
    right: list[int]
    row: Callable[[Any], list[str]]  # of a search hit


def layout_for(corpus: Corpus) -> Layout:
    if corpus.name == "debian-packages":
        return Layout(["package", "section", "size", "description"], [2], package_row)
    fields = [
        name
        for name, value in corpus.documents[0].metadata.items()
        if name != "text" and isinstance(value, (bool, int, float, str)) and len(str(value)) <= 40
    ][:2]
    return Layout(["id", *fields, "text"], [], lambda hit: text_row(hit, fields))


def package_row(hit: Any) -> list[str]:
    size = hit.metadata.get("size_kib")
    size_text = "" if size is None else f"{size:,} KiB" if size < 10_000 else f"{size / 1024:,.0f} MiB"
    return [hit.metadata["package"], hit.metadata["section"], size_text, hit.metadata["description"]]


def text_row(hit: Any, fields: Sequence[str]) -> list[str]:
    shown = [hit.metadata.get(name) for name in fields]
    return [str(hit.id), *("" if value is None else str(value) for value in shown), hit.metadata["text"]]
