"""Text on a terminal: numbered steps, tables, and a progress bar that appears only where one can watch it."""

from __future__ import annotations

import shutil
import sys
import time
import unicodedata
from collections.abc import Sequence

WIDTH_DEFAULT = 118
BAR_WIDTH = 30


def page_width() -> int:
    return max(60, min(shutil.get_terminal_size((WIDTH_DEFAULT, 24)).columns, 160))


def step(number: int, title: str, text: str) -> None:
    print(f"{number}  {title:<9} {text}", flush=True)


def char_width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def text_width(text: str) -> int:
    return sum(map(char_width, text))


def printable(text: str) -> str:
    """One line without control characters: texts come from outside, and a terminal obeys escape sequences."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def fit(text: str, width: int) -> str:
    """`text` cut to `width` columns, the cut shown by an ellipsis, filled up with blanks."""
    if text_width(text) > width:
        kept, used = "", 1
        for char in text:
            used += char_width(char)
            if used > width:
                break
            kept += char
        text = kept + "…"
    return text + " " * (width - text_width(text))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Prints rows under heads; columns in `right` are aligned right, the last one takes what width is left."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(text_width(line[i]) for line in [list(heads), *cells]) for i in range(len(heads))]
    for i in range(len(widths) - 1):
        widths[i] = min(widths[i], 34)
    widths[-1] = max(10, min(widths[-1], page_width() - sum(widths[:-1]) - 2 * len(widths) - 1))
    for line in [list(heads), ["-" * width for width in widths], *cells]:
        parts = []
        for i, cell in enumerate(line):
            pad = " " * (widths[i] - text_width(cell)) if i in right else ""
            parts.append(pad + fit(cell, widths[i] - len(pad)))
        print(("   " + "  ".join(parts)).rstrip())


class Progress:
    """A bar on stderr when it is a terminal; otherwise nothing. Use as a context manager."""

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.done = what, total, 0
        self.watched = sys.stderr.isatty()
        self.started = self.drawn = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.watched:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()

    def advance(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if not self.watched or (now - self.drawn < 0.1 and self.done < self.total):
            return
        self.drawn = now
        share = self.done / self.total
        full = int(share * BAR_WIDTH)
        rate = self.done / max(now - self.started, 1e-9)
        left = (self.total - self.done) / rate
        bar = "#" * full + "." * (BAR_WIDTH - full)
        line = f"{self.what} [{bar}] {share:4.0%}  {self.done:,}/{self.total:,}  {rate:,.0f}/s  {left:.0f} s left"
        sys.stderr.write(f"\r\033[K{line[: page_width() - 1]}")
        sys.stderr.flush()
