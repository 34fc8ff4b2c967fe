"""One participant's process: builds once, then searches when told, so that rounds can go from one to the next.

Reads one JSON command a line from stdin, writes one JSON answer a line. Commands: build, search, batch, quit. What a
library prints goes to stderr (the parent keeps it in a log). Only this process imports the library.
"""

from __future__ import annotations

import ctypes
import datetime
import gc
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

from bench.ann import storage


def set_affinity(cores: list[int]) -> None:
    """Pins every thread of this process, also those a library has started already."""
    for task in os.listdir("/proc/self/task"):
        try:
            os.sched_setaffinity(int(task), cores)
        except ProcessLookupError:
            continue


def memory() -> dict[str, int]:
    """Bytes resident, of those anonymous (no file's pages), and the most that ever was resident."""
    names = {"VmRSS:": "rss_bytes", "RssAnon:": "anonymous_bytes", "VmHWM:": "peak_rss_bytes"}
    out = {}
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            word = line.split()
            if word[0] in names:
                out[names[word[0]]] = int(word[1]) * 1024
    return out


def huge_page_bytes() -> int | None:
    """Anonymous bytes in transparent huge pages; None where the kernel does not say."""
    try:
        with open("/proc/self/smaps_rollup", encoding="ascii") as rollup:
            for line in rollup:
                if line.startswith("AnonHugePages:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def cpu_seconds() -> float:
    """User and system time of this process, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def mapped(data: Any) -> Any:
    """The same numbers in a file of this process, mapped, as the sets are that need no conversion."""
    import numpy as np

    path = os.path.join(os.environ["BENCH_SCRATCH"], "rows.npy")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    np.save(path, data)
    return np.load(path, mmap_mode="c")


def give_back_memory() -> None:
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:  # not glibc
        pass


class Worker:
    def __init__(self, entry_name: str) -> None:
        from bench.ann.adapters import ENTRIES

        self.entry = ENTRIES[entry_name]
        self.adapter: Any = None
        self.queries: Any = None

    def limit_blas(self, threads: int) -> None:
        """BLAS inside the libraries, whose own setting of threads does not reach it."""
        try:
            import threadpoolctl
        except ImportError:
            return
        threadpoolctl.threadpool_limits(threads, user_api="blas")

    def build(self, command: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        set_affinity(command["build_cores"])
        data = np.load(command["base"], mmap_mode="c")  # some libraries refuse an array that may not be written
        converted = self.entry.element == "f32" and data.dtype != np.float32
        if converted:
            data = data.astype(np.float32)
            if self.entry.ours and not self.entry.exact:
                data, converted = mapped(data), False
        queries = np.load(command["queries"], mmap_mode="r")
        self.queries = np.array(queries, dtype=data.dtype)
        self.adapter = self.entry.make()
        give_back_memory()
        # Converted rows count neither before nor after: they go when the index has what it needs.
        before = memory()["anonymous_bytes"] - (data.nbytes if converted else 0)
        kept = self.take_kept(data, command)
        took = kept or self.build_now(data, command)
        del data
        give_back_memory()
        now = memory()
        self.limit_blas(command["threads"])
        self.adapter.set_threads(command["threads"])
        set_affinity(command["cores"])
        built = {
            **took,
            "memory_bytes": max(0, now["anonymous_bytes"] - before),
            "peak_rss_bytes": now["peak_rss_bytes"],
            "anonymous_bytes": now["anonymous_bytes"],
            "huge_page_bytes": huge_page_bytes(),
            "index_bytes": self.adapter.index_bytes(),
            "version": self.adapter.version(),
            "note": self.adapter.note(),
        }
        if kept:
            built.update(memory_bytes=kept["memory_bytes"], peak_rss_bytes=kept["peak_rss_bytes"])
        elif command.get("keep"):
            self.keep(command, built)
        return built

    def build_now(self, data: Any, command: dict[str, Any]) -> dict[str, Any]:
        """Builds; with `alone`, first once more by a single thread, for how well threads share the work."""
        params, cores = dict(self.entry.build), command["build_cores"]
        took: dict[str, Any] = {"build_threads": len(cores)}
        if command.get("alone") and len(cores) > 1:
            set_affinity(cores[:1])
            begin = time.perf_counter()
            self.adapter.build(data, command["metric"], params, 1)
            took["build_seconds_alone"] = time.perf_counter() - begin
            self.adapter = self.entry.make()
            give_back_memory()
            set_affinity(cores)
        begin, cpu = time.perf_counter(), cpu_seconds()
        self.adapter.build(data, command["metric"], params, len(cores))
        return {**took, "build_seconds": time.perf_counter() - begin, "build_cpu_seconds": cpu_seconds() - cpu}

    def take_kept(self, data: Any, command: dict[str, Any]) -> dict[str, Any] | None:
        """Loads the index kept from an earlier run, and says what building it took then; None if there is none."""
        folder = command.get("keep")
        record = storage.find(Path(folder), self.identity(command)) if folder else None
        if record is None:
            return None
        self.adapter.load(folder, data, command["metric"], dict(self.entry.build))
        if self.adapter.version() != record["version"]:
            self.adapter = self.entry.make()
            return None
        return record["took"]

    def identity(self, command: dict[str, Any]) -> dict[str, Any]:
        return storage.identity(Path(command["base"]), self.entry.build, command["metric"], command["processor"])

    def keep(self, command: dict[str, Any], built: dict[str, Any]) -> None:
        from bench.ann.adapters.base import Unsupported

        names = ("build_threads", "build_seconds", "build_cpu_seconds", "memory_bytes", "peak_rss_bytes")
        took = {name: built[name] for name in names}
        took["built"] = {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
                         "load": os.getloadavg()[0]}
        try:
            storage.keep(Path(command["keep"]), self.adapter,
                         {"identity": self.identity(command), "version": built["version"], "took": took})
        except Unsupported:
            pass  # it is built again each time

    def search(self, command: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        queries = self.queries[:command["query_count"]]
        warm = command.get("warm_count", 0)
        if warm > 0:
            self.adapter.search(queries[:warm], command["k"], command["params"])
        begin = time.perf_counter()
        ids = self.adapter.search(queries, command["k"], command["params"])
        seconds = time.perf_counter() - begin
        answer: dict[str, Any] = {"seconds": seconds, "peak_rss_bytes": memory()["peak_rss_bytes"],
                                  "note": self.adapter.note()}
        if command.get("ids"):
            np.save(command["ids"], np.asarray(ids, dtype=np.int64))
        return answer

    def batch(self, command: dict[str, Any]) -> dict[str, Any]:
        """Seconds of the same batch by one thread and by all, in turn: {"1": [...], "2": [...]}."""
        import numpy as np

        cores = command["all_cores"]
        queries = np.take(self.queries, range(command["query_count"]), axis=0, mode="wrap")
        seconds: dict[str, list[float]] = {str(count): [] for count in (1, len(cores))}
        for _ in range(command["rounds"]):
            for count in (1, len(cores)):
                set_affinity(cores[:count])
                self.adapter.set_threads(count)
                self.adapter.search(queries[:32], command["k"], command["params"])  # makes the threads
                set_affinity(cores[:count])
                begin = time.perf_counter()
                for _ in range(command["repeats"]):
                    self.adapter.search(queries, command["k"], command["params"])
                seconds[str(count)].append((time.perf_counter() - begin) / command["repeats"])
        self.adapter.set_threads(command["threads"])
        set_affinity(command["cores"])
        return {"seconds": seconds}

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        from bench.ann.adapters.base import Unsupported

        try:
            return {"build": self.build, "search": self.search, "batch": self.batch}[command["do"]](command)
        except Unsupported as reason:
            return {"unsupported": str(reason)}
        except ImportError as error:
            return {"unsupported": f"cannot be loaded: {error}"}
        except Exception as error:  # whatever a library throws: the report names it
            traceback.print_exc()
            lines = str(error).strip().splitlines() or [""]
            return {"error": f"{type(error).__name__}: {lines[0][:200]}"}


def serve(stdin: TextIO, stdout: TextIO, entry_name: str) -> None:
    worker = Worker(entry_name)
    for line in stdin:
        command = json.loads(line)
        if command["do"] == "quit":
            break
        stdout.write(json.dumps(worker.answer(command)) + "\n")
        stdout.flush()


def offer_to_die_first() -> None:
    """Where memory runs out, this process is to be ended, not the one that keeps everybody's results."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
            score.write("900")
    except OSError:
        pass


def main() -> int:
    offer_to_die_first()
    # Libraries may print: their stdout becomes stderr, the answers keep the pipe.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.stdin, answers, sys.argv[1])
    answers.flush()
    os._exit(0)  # some libraries take long, or crash, on their way out


if __name__ == "__main__":
    raise SystemExit(main())
