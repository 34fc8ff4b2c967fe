"""The texts of the demo: the package descriptions this machine knows, or the user's own JSON lines.

A corpus is a list of documents (id, text, metadata) and a key: a hash of the raw input, by which later runs find
the embeddings and points of an earlier one again.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

METADATA_BYTES_MAX = 1 << 20  # the server's limit for one point


class CorpusError(Exception):
    """The input cannot be used; the message is one line that names the file and the line."""


@dataclass(frozen=True)
class Document:
    id: int | str
    text: str  # what is embedded
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Corpus:
    name: str  # the collection's name
    what: str  # for messages: "Debian packages", "texts of FILE"
    key: str  # hash of the raw input
    documents: list[Document]


# ---- Debian packages ---------------------------------------------------------------------------------------


def read_packages() -> Corpus:
    """Reads `apt-cache dumpavail`: one document per package, debug symbols left out, the first version kept."""
    try:
        raw = subprocess.run(["apt-cache", "dumpavail"], stdout=subprocess.PIPE, check=True).stdout
    except FileNotFoundError:
        raise CorpusError("apt-cache is not here; give your own texts with --input FILE.jsonl") from None
    except subprocess.CalledProcessError as error:
        raise CorpusError(f"apt-cache dumpavail failed with exit status {error.returncode}") from None
    seen: dict[str, Document] = {}
    for fields in stanzas(raw.decode("utf-8", errors="replace")):
        name = fields.get("Package", "")
        if not name or name in seen or name.endswith("-dbgsym") or "Description" not in fields:
            continue
        seen[name] = package_document(name, fields)
    if not seen:
        raise CorpusError(
            "apt-cache dumpavail names no packages; run `apt-get update` first, or give --input FILE.jsonl"
        )
    return Corpus("debian-packages", "Debian packages", hashlib.sha256(raw).hexdigest(), list(seen.values()))


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """Splits control-file text into stanzas: field name -> value, continuation lines joined by newlines."""
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        last = ""
        for line in block.split("\n"):
            if line[:1] in (" ", "\t"):
                if last:
                    fields[last] += "\n" + line.strip()
            else:
                last, colon, value = line.partition(":")
                if colon:
                    fields[last] = value.strip()
                else:
                    last = ""
        if fields:
            yield fields


PURPOSE_TAGS = ("field", "game", "mail", "network", "office", "protocol", "sound", "use", "web", "works-with")


def package_document(name: str, fields: dict[str, str]) -> Document:
    synopsis, _, long_text = fields["Description"].partition("\n")
    tags = [tag.strip() for tag in fields.get("Tag", "").replace("\n", " ").split(",") if tag.strip()]
    section = fields.get("Section", "unknown").rpartition("/")[2]
    metadata: dict[str, Any] = {
        "package": name,
        "description": synopsis,
        "section": section,
        "maintainer": fields.get("Maintainer", ""),
        "tags": tags,
    }
    size = fields.get("Installed-Size", "")
    if size.isdigit():
        metadata["size_kib"] = int(size)
    # Of a tag such as "works-with::video" the last part tells the purpose; other families tell how it is made.
    hints = " ".join(tag.rpartition("::")[2] for tag in tags if tag.partition("::")[0] in PURPOSE_TAGS)
    return Document(name, f"{name} {synopsis} {hints} {section} {long_text}", metadata)


# ---- The user's own texts ----------------------------------------------------------------------------------


def read_jsonl(path: Path) -> Corpus:
    """Reads one JSON object per line: "text", "id" (else the line number), other fields as metadata."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror}") from None
    documents: list[Document] = []
    first_line: dict[int | str, int] = {}
    for number, line in numbered_lines(path, raw):
        document = jsonl_document(f"{path}:{number}", number, line)
        if document.id in first_line:
            raise CorpusError(
                f"{path}:{number}: id {document.id!r} is already used on line {first_line[document.id]}"
            )
        first_line[document.id] = number
        documents.append(document)
    if not documents:
        raise CorpusError(f'{path}: no texts in it: one JSON object with a "text" field per line is expected')
    return Corpus("texts", f"texts of {path.name}", hashlib.sha256(raw).hexdigest(), documents)


def numbered_lines(path: Path, raw: bytes) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(raw.split(b"\n"), start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise CorpusError(f"{path}:{number}: not UTF-8 at byte {error.start} of the line") from None
        if text:
            yield number, text


def jsonl_document(where: str, number: int, line: str) -> Document:
    try:
        fields = json.loads(line, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{where}: not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise CorpusError(f"{where}: a JSON object is expected, not {json_kind(fields)}")
    text = fields.get("text")
    if not isinstance(text, str):
        found = json_kind(text) if "text" in fields else "nothing"
        raise CorpusError(f'{where}: "text" must be a string, found {found}')
    if not text.strip():
        raise CorpusError(f'{where}: "text" is empty')
    point_id = fields.pop("id", number)
    check_id(where, point_id)
    check_metadata(where, fields)
    return Document(point_id, text, fields)


def check_metadata(where: str, fields: dict[str, Any]) -> None:
    try:
        size = len(json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8"))
    except UnicodeEncodeError:
        raise CorpusError(f"{where}: half of a surrogate pair in a string: not valid Unicode") from None
    except ValueError:
        raise CorpusError(f"{where}: a number is too large for a double") from None
    if size > METADATA_BYTES_MAX:
        raise CorpusError(f"{where}: {size:,} bytes of text and metadata, {METADATA_BYTES_MAX:,} are allowed")


def check_id(where: str, point_id: Any) -> None:
    if isinstance(point_id, int) and not isinstance(point_id, bool):
        if not 0 <= point_id < 2**64:
            raise CorpusError(f'{where}: "id" {point_id} is outside 0..{2**64 - 1}')
    elif isinstance(point_id, str):
        size = len(point_id.encode("utf-8", errors="surrogatepass"))
        if not 1 <= size <= 255:
            raise CorpusError(f'{where}: "id" has {size} bytes, 1 to 255 are allowed')
    else:
        raise CorpusError(f'{where}: "id" must be an unsigned integer or a string, found {json_kind(point_id)}')


def refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def json_kind(value: Any) -> str:
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")
