#!/usr/bin/env python3
"""VecDB at work on real texts, from nothing to answers, with a power cut in between.

    python examples/demo/demo.py                      the Debian packages that this machine knows
    python examples/demo/demo.py --input FILE.jsonl   your own: a "text" per line, other fields become metadata

Texts become vectors (embed.py), a vecdb-server of our own stores them with their metadata (local_server.py),
searches are answered and measured against brute force (exact.py), the server is killed with SIGKILL and started
again, and every point is read back and compared. A second run reuses the embeddings and points of the first.

Exit status: 0 all well, 1 something failed or an answer was wrong, 2 the input cannot be used.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from vecdb import NotFound, SearchResult, VecDBClient, VecDBError

import show
from corpus import Corpus, CorpusError, read_jsonl, read_packages
from embed import Embedder, cache_key, embed
from exact import BruteForce
from local_server import LocalServer, ServerFailed
from questions import Question, layout_for, questions_for

REPOSITORY = Path(__file__).resolve().parents[2]
UPSERT_POINTS = 2_000
READ_POINTS = 5_000


class Demo:
    def __init__(self, corpus: Corpus, embedder: Embedder, work: Path, limit: int) -> None:
        self.corpus, self.embedder, self.work, self.limit = corpus, embedder, work, limit
        # A text without one known word has no direction, and cosine distance no answer for it.
        usable = np.abs(embedder.vectors).sum(axis=1) > 0
        self.rows = np.flatnonzero(usable)
        self.documents = [corpus.documents[row] for row in self.rows]
        self.vectors = np.ascontiguousarray(embedder.vectors[self.rows])
        self.row_of = {document.id: row for row, document in enumerate(self.documents)}
        self.truth = BruteForce(self.vectors)
        self.layout = layout_for(corpus)
        self.key = cache_key(corpus)
        self.wrong: list[str] = []

    # ---- Points --------------------------------------------------------------------------------------------

    @property
    def state_file(self) -> Path:
        return self.work / f"{self.corpus.name}.json"

    def is_loaded(self, client: VecDBClient) -> bool:
        """Whether an earlier run has put exactly these points there."""
        try:
            state = json.loads(self.state_file.read_text(encoding="utf-8"))
            return state == {"key": self.key} and client.count(self.corpus.name) == len(self.documents)
        except (OSError, ValueError, NotFound):
            return False

    def load(self, client: VecDBClient) -> None:
        if self.is_loaded(client):
            show.step(4, "Points", f"{len(self.documents):,} are there from an earlier run")
            return
        self.state_file.unlink(missing_ok=True)
        try:
            client.delete_collection(self.corpus.name)
        except NotFound:
            pass
        client.create_collection(name=self.corpus.name, dimension=self.embedder.dimension, metric="cosine")
        started = time.monotonic()
        with show.Progress("upserting", len(self.documents)) as progress:
            for start in range(0, len(self.documents), UPSERT_POINTS):
                part = self.documents[start : start + UPSERT_POINTS]
                client.upsert(
                    collection=self.corpus.name,
                    ids=[document.id for document in part],
                    array=self.vectors[start : start + UPSERT_POINTS],
                    metadata=[document.metadata for document in part],
                )
                progress.advance(len(part))
        seconds = time.monotonic() - started
        self.state_file.write_text(json.dumps({"key": self.key}), encoding="utf-8")
        rate = len(self.documents) / seconds
        show.step(
            4,
            "Points",
            f"{len(self.documents):,} upserted with their metadata in {seconds:.1f} s ({rate:,.0f}/s), "
            "each batch on disk when acknowledged",
        )
        started = time.monotonic()
        client.create_snapshot(self.corpus.name, "loaded")  # brings all rows from memory to a segment, too
        info = client.build_index(self.corpus.name)  # the server would do it in the background
        if info.index.rows:
            print(
                f"   a {info.index_config['type']} over {info.index.rows:,} rows in "
                f"{time.monotonic() - started:.1f} s, {info.index.memory_bytes / 2**20:.0f} MiB"
            )

    def compare_all(self, client: VecDBClient) -> int:
        """How many points are there exactly as they were written: vectors to the bit, metadata to the letter."""
        same = 0
        with show.Progress("comparing", len(self.documents)) as progress:
            for start in range(0, len(self.documents), READ_POINTS):
                part = self.documents[start : start + READ_POINTS]
                points = {point.id: point for point in client.get(self.corpus.name, [d.id for d in part])}
                for row, document in enumerate(part, start):
                    point = points.get(document.id)
                    if (
                        point is not None
                        and point.vector is not None
                        and point.vector.tobytes() == self.vectors[row].tobytes()
                        and point.metadata == document.metadata
                    ):
                        same += 1
                progress.advance(len(part))
        return same

    # ---- Searches ------------------------------------------------------------------------------------------

    def ask(self, client: VecDBClient, question: Question) -> SearchResult | None:
        """Searches, as a user would and exactly, and measures both answers; returns the exact one, or None when the
        question has no word that any text has."""
        vector = self.embedder.query(question.text)
        if not vector.any():
            return None
        started = time.perf_counter()
        result = client.search(
            collection=self.corpus.name,
            vector=vector,
            limit=self.limit,
            filter=question.filter,
            explain=True,
        )
        milliseconds = (time.perf_counter() - started) * 1e3
        allowed = np.fromiter((question.passes(d.metadata) for d in self.documents), bool, len(self.documents))
        truth = self.truth.nearest(vector, self.limit, allowed)
        exact = client.search(self.corpus.name, vector, self.limit, question.filter, explain=True, exact=True)
        recall = truth.recall([self.row_of[i] for i in exact.ids])
        if recall < 1.0:
            self.wrong.append(f'"{question.text}": recall {recall:.3f}, but an exact search finds all')
        recall = truth.recall([self.row_of[i] for i in result.ids])
        self.tell(question, result, exact, milliseconds, recall, int(allowed.sum()))
        return exact

    def tell(
        self,
        question: Question,
        result: SearchResult,
        exact: SearchResult,
        ms: float,
        recall: float,
        allowed: int,
    ) -> None:
        where = f"  where {question.in_words} ({allowed:,} of {len(self.documents):,})" if question.filter else ""
        print(f'\n   "{question.text}"{where}\n')
        rows = [[str(n), f"{hit.score:.3f}", *self.layout.row(hit)] for n, hit in enumerate(result, start=1)]
        show.table(["rank", "distance", *self.layout.heads], rows, [0, 1, *(2 + i for i in self.layout.right)])
        inside = ""
        if result.explain and exact.explain:
            inside = f"{result.explain.plan}: {result.explain.total_us / 1e3:.2f} ms in the server "
            inside += f"({exact.explain.total_us / 1e3:.2f} exactly), "
        measured = f"recall@{self.limit} {recall:.3f} against brute force by numpy"
        print(f"\n   {inside}{ms:.2f} ms seen from here; {measured}")

    def ask_all(self, client: VecDBClient, questions: Sequence[Question]) -> list[SearchResult | None]:
        show.step(5, "Searches", f"the {self.limit} nearest by cosine distance")
        answers = []
        for question in questions:
            answer = self.ask(client, question)
            if answer is None:
                print(f'\n   "{question.text}": none of these words is in any text')
            answers.append(answer)
        print()
        return answers

    # ---- The power cut -------------------------------------------------------------------------------------

    def survive(
        self, server: LocalServer, questions: Sequence[Question], before: list[SearchResult | None]
    ) -> None:
        server.kill()
        show.step(6, "kill -9", "the server is gone; starting it again on the same directory")
        server.start()
        with VecDBClient(server.address) as client:
            count = client.count(self.corpus.name)
            same = self.compare_all(client)
            equal = sum(
                answer is not None
                and answer.hits
                == client.search(
                    self.corpus.name,
                    self.embedder.query(question.text),
                    self.limit,
                    question.filter,
                    exact=True,
                ).hits
                for question, answer in zip(questions, before)
            )
        asked = sum(answer is not None for answer in before)
        total = len(self.documents)
        show.step(
            7,
            "Recovery",
            f"ready after {server.start_seconds:.2f} s with {count:,} points; {same:,} of {total:,} equal "
            f"to what was written; {equal} of {asked} searches answered as before",
        )
        if (count, same, equal) != (total, total, asked):
            self.wrong.append(f"after kill -9: {count} points of {total}, {same} of them as written")


def prepare(arguments: argparse.Namespace, work: Path) -> tuple[Corpus, Embedder]:
    started = time.monotonic()
    corpus = read_jsonl(arguments.input) if arguments.input else read_packages()
    print(f"VecDB demo: {len(corpus.documents):,} {corpus.what}\n")
    show.step(1, "Texts", f"{len(corpus.documents):,} read in {time.monotonic() - started:.1f} s")
    embedder = embed(corpus, work / "embeddings", time.monotonic)
    how = (
        f"made in {embedder.seconds:.1f} s by TF-IDF and truncated SVD" if embedder.seconds else "from the cache"
    )
    show.step(2, "Vectors", f"{embedder.dimension} dimensions, {how}")
    return corpus, embedder


def run(arguments: argparse.Namespace) -> int:
    work = arguments.work_dir.resolve()
    work.mkdir(parents=True, exist_ok=True)
    corpus, embedder = prepare(arguments, work)
    demo = Demo(corpus, embedder, work, arguments.limit)
    if len(demo.documents) < len(corpus.documents):
        print(f"   {len(corpus.documents) - len(demo.documents):,} texts have no word to go by and are left out")
    questions = questions_for(corpus, arguments.query)
    server = LocalServer(arguments.bin_dir.resolve() / "vecdb-server", work / "data", work / "server.log")
    try:
        server.start()
        shown = os.path.relpath(server.data)
        show.step(3, "Server", f"http://{server.address} on {shown}, ready after {server.start_seconds:.2f} s")
        with VecDBClient(server.address) as client:
            demo.load(client)
            answers = demo.ask_all(client, questions)
        demo.survive(server, questions, answers)
        server.stop()
        show.step(8, "Stopped", f"the data stays in {shown}; run this again and it starts from there")
    finally:
        server.clean_up()
    for line in demo.wrong:
        print(f"demo: {line}", file=sys.stderr)
    return 1 if demo.wrong else 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fill a VecDB with real texts and search it.")
    bin_dir = Path(os.environ.get("VECDB_BIN_DIR") or REPOSITORY / "build/release")
    parser.add_argument("--input", type=Path, metavar="FILE.jsonl", help='own texts: one {"text": ...} per line')
    parser.add_argument(
        "--query", action="append", default=[], metavar="TEXT", help="search this instead; repeatable"
    )
    parser.add_argument("--limit", type=int, default=8, metavar="N", help="answers per search (default 8)")
    parser.add_argument("--bin-dir", type=Path, default=bin_dir, metavar="DIR", help="where vecdb-server is")
    parser.add_argument("--work-dir", type=Path, default=REPOSITORY / "build/demo", metavar="DIR")
    arguments = parser.parse_args(argv)
    if not 1 <= arguments.limit <= 1000:
        parser.error(f"--limit {arguments.limit}: 1 to 1000 are allowed")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    # Like Ctrl-C, a plain kill unwinds through `finally`, so that the server is stopped too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return run(parse_arguments(argv))
    except CorpusError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except (ServerFailed, VecDBError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted; the server is stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
