#!/usr/bin/env python3
"""Writes the golden directories that every version must refuse by name: refused-*/ beside this file.

Each is a database of format 1 with one empty collection, in which one place says that it is from the future: a format
that no reader has (4,000,000,000), or a feature bit that nobody gives a meaning (the highest).
"""
import pathlib
import shutil
import struct

HERE = pathlib.Path(__file__).parent
FUTURE = 4_000_000_000
HIGH_BIT = 1 << 63
UUID = bytes(range(16))


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def manifest(magic: str, more: str = "", version: int = 1, features: int = 0) -> bytes:
    text = (
        f'{{"magic": "{magic}",\n "format": {version},\n "min_reader": {version},\n "features": {features},\n'
        f' "uuid": "{UUID.hex()}",\n "created_us": 1700000000000000{more}'
    ).encode()
    return text + f',\n "crc32c": "{crc32c(text):08x}"}}\n'.encode()


COLLECTION = (
    ',\n "schema": {"name": "docs", "dimension": 2, "element": "f32", "metric": "l2", "index": "flat"}'
    ',\n "wal_first": 0'
)


def log_header(version: int = 1, features: int = 0) -> bytes:
    head = struct.pack("<8sIIQ16sIIQI", b"VDBWAL\r\n", version, version, features, UUID, 0, 0, 1, 0)
    return head + struct.pack("<I", crc32c(head))


def write(name: str, database: bytes, collection: bytes, log: bytes) -> None:
    root = HERE / name
    shutil.rmtree(root, ignore_errors=True)
    wal = root / "collections" / "docs" / "wal"
    wal.mkdir(parents=True)
    (root / "metadata.json").write_bytes(database)
    (wal.parent / "metadata.json").write_bytes(collection)
    (wal / "segment_000000.wal").write_bytes(log)


def main() -> None:
    good = (manifest("vecdb-database"), manifest("vecdb-collection", COLLECTION), log_header())
    future = {"version": FUTURE}
    feature = {"features": HIGH_BIT}
    for label, change in (("future", future), ("feature", feature)):
        write(f"refused-database-{label}", manifest("vecdb-database", **change), *good[1:])
        write(f"refused-collection-{label}", good[0], manifest("vecdb-collection", COLLECTION, **change), good[2])
        write(f"refused-log-{label}", *good[:2], log_header(**change))


if __name__ == "__main__":
    main()
