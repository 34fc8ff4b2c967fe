"""What the numbers were measured on: processor, memory, kernel, packages, commit."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

FLAGS_SHOWN = ("avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16",
               "avx512_vpopcntdq", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16", "asimd", "sve")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def parse_cpuinfo(text: str) -> dict[str, Any]:
    """Model, logical processors and the vector flags of /proc/cpuinfo."""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    words = set(flags.group(1).split()) if flags else set()
    return {"model": model.group(1).strip() if model else "unknown",
            "processors": len(re.findall(r"^processor\s*:", text, re.MULTILINE)),
            "flags": [flag for flag in FLAGS_SHOWN if flag in words]}


def caches() -> list[str]:
    out = []
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (_read(str(index / part)).strip() for part in ("level", "type", "size"))
        if size:
            out.append(f"L{level} {kind.lower()} {size}")
    return out


def commit(root: Path) -> str:
    try:
        head = subprocess.run(["git", "-C", str(root), "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                              check=True).stdout.strip()
        changed = subprocess.run(["git", "-C", str(root), "status", "--porcelain", "--", "src", "bench"],
                                 capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + (" with changes" if changed else "")


def load_at_start() -> float:
    """Processes that ran or waited in the last minute: before `make bench` began to build, which BENCH_LOAD tells, else
    now."""
    try:
        return float(os.environ["BENCH_LOAD"])
    except (KeyError, ValueError):
        return os.getloadavg()[0]


def describe(root: Path) -> dict[str, Any]:
    memory = re.search(r"^MemTotal:\s*(\d+)", _read("/proc/meminfo"), re.MULTILINE)
    hypervisor = "hypervisor" in _read("/proc/cpuinfo")
    return {
        "cpu": parse_cpuinfo(_read("/proc/cpuinfo")),
        "cores": len(os.sched_getaffinity(0)),
        "caches": caches(),
        "memory_bytes": int(memory.group(1)) * 1024 if memory else 0,
        "virtual": hypervisor,
        "huge_pages": (re.search(r"\[(\w+)\]", _read("/sys/kernel/mm/transparent_hugepage/enabled")) or [None, ""])[1],
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "load_at_start": load_at_start(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(root),
    }
