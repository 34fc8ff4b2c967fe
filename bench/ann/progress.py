"""How far a run has come, and how long it will still take: a line on a terminal, nothing elsewhere.

A run is a list of steps. A step's time is what it took in the last run of the same name (steps.json beside its
results), else an estimate by its work; estimates are scaled by what the steps of this run have taken so far, so that
they need only be right relative to each other.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Callable, TextIO

WIDTH = 20


class Progress:
    def __init__(self, stream: TextIO, memory: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream = stream
        self.memory = memory
        self.clock = clock
        self.shown = stream.isatty()
        self.guesses: dict[str, float] = {}  # seconds of each step, in order
        self.known: set[str] = set()  # those taken from an earlier run
        self.took: dict[str, float] = {}
        self.current = ""
        self.share = 0.0
        self.start = self.step_start = clock()
        self.drawn = False

    def plan(self, guesses: dict[str, float]) -> None:
        """The steps to come, with a rough guess of each one's seconds."""
        self.guesses = dict(guesses)
        try:
            earlier = json.loads(self.memory.read_text(encoding="utf-8"))
            for name in self.guesses:
                if float(earlier.get(name, 0)) > 0:
                    self.guesses[name] = float(earlier[name])
                    self.known.add(name)
        except (OSError, ValueError, TypeError, AttributeError):
            self.known.clear()  # no earlier run, or none that can be read

    def begin(self, name: str) -> None:
        self.end()
        self.current, self.share, self.step_start = name, 0.0, self.clock()
        self.draw()

    def advance(self, share: float) -> None:
        """The share of the current step that is done, 0 to 1."""
        self.share = min(1.0, max(self.share, share))
        self.draw()

    def end(self) -> None:
        """The current step is done."""
        if self.current:
            self.took[self.current] = self.clock() - self.step_start
            self.current = ""

    def seconds_left(self) -> float:
        guessed = sum(self.guesses.get(name, 0) for name in self.took if name not in self.known)
        taken = sum(self.took[name] for name in self.took if name not in self.known)
        scale = taken / guessed if guessed > 0 else 1.0
        left = 0.0
        for name, guess in self.guesses.items():
            if name in self.took:
                continue
            seconds = guess if name in self.known else guess * scale
            if name == self.current:
                elapsed = self.clock() - self.step_start
                by_share = elapsed * (1 - self.share) / self.share if self.share > 0 else seconds - elapsed
                seconds = max(0.0, (1 - self.share) * max(0.0, seconds - elapsed) + self.share * by_share)
            left += seconds
        return left

    def line(self) -> str:
        elapsed = self.clock() - self.start
        left = self.seconds_left()
        filled = round(WIDTH * elapsed / max(elapsed + left, 1e-9))
        bar = "#" * filled + "." * (WIDTH - filled)
        return f"[{bar}] {minutes(elapsed)}, about {minutes(left)} to go: {self.current}"

    def draw(self) -> None:
        if self.shown and self.current:
            self.stream.write("\r\x1b[K" + self.line()[:118])
            self.stream.flush()
            self.drawn = True

    def clear(self) -> None:
        """Makes room for other output."""
        if self.drawn:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
            self.drawn = False

    def save(self) -> None:
        """Remembers what each step took, for the next run."""
        self.end()
        self.clear()
        if self.took:
            self.memory.parent.mkdir(parents=True, exist_ok=True)
            part = self.memory.with_suffix(".part")
            part.write_text(json.dumps(self.took, indent=1) + "\n", encoding="utf-8")
            os.replace(part, self.memory)


def minutes(seconds: float) -> str:
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02d}"
