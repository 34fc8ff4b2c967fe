#!/usr/bin/env python3
"""Prints expected.txt: what make_golden.c has written after step 2, worked out a second time and without VecDB; with
the argument "elements" expected-elements.txt: after step 5.

Metadata is in the compact form that VecDB stores: no white space, numbers as they came.
"""

import sys


def vector(dimension: int, salt: int) -> str:
    values = ((1 + (salt * 7 + d * 3) % 23) / 4 * (1 if d % 2 == 0 else -1) for d in range(dimension))
    return "[" + " ".join(f"{value:.2f}" for value in values) + "]"


def main() -> None:
    print("collection numbers dimension 3 metric l2 index flat")
    for i in range(40):
        if i % 5 == 1:
            print(i * 1000003, vector(3, 100 + i), '{"rewritten":1.50}')
        elif i % 5 != 0:
            print(i * 1000003, vector(3, i), f'{{"n":{i},"odd":{"true" if i % 2 else "false"}}}')
    texts = {
        42: (4, '{"kind":"number"}'),
        2**64 - 1: (7, "{}"),
        "42": (5, '{"kind":"text"}'),
        "again": (9, '{"back":true}'),
        "plain": (6, '{"now":{"deep":[1,[2,[3]]]},"e":1e3}'),
        "été": (2, '{"title":"L\'été — 夏 🌞","tags":["a","b\\n"]}'),
    }
    print("collection texts dimension 5 metric cosine index flat")
    for name, (salt, metadata) in texts.items():
        print(f'"{name}"' if isinstance(name, str) else name, vector(5, salt), metadata)


def elements() -> None:
    for name, scale, lowest in (("f16", 4, -40), ("i8", 1, -128), ("u8", 1, 0)):
        print(f"collection {name} dimension 3 metric l2 index flat")
        for n in [*range(20), 50]:
            salt = 100 + n if n % 4 == 1 and n < 20 else n
            if n % 4 != 2 or n == 50:
                values = ((lowest + (salt * 31 + d * 85) % 256) / scale for d in range(3))
                print(n, "[" + " ".join(f"{value:.2f}" for value in values) + "]", f'{{"salt":{salt}}}')


if __name__ == "__main__":
    elements() if sys.argv[1:] == ["elements"] else main()
