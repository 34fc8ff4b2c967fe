"""From measured points to curves: the best speed at each recall, and values between points."""

from __future__ import annotations

import math
from typing import Any

RECALLS = (0.90, 0.95, 0.99)


def frontier(points: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """(recall, queries per second) of the points that no other beats in both, by rising recall."""
    best: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda p: (-p["recall"], -p["qps_median"])):
        if not best or point["qps_median"] > best[-1][1]:
            best.append((point["recall"], point["qps_median"]))
    best.reverse()
    return best


def at_recall(points: list[dict[str, Any]], wanted: float) -> tuple[float, bool] | None:
    """Queries per second at that recall, and whether it is interpolated; None when no point reaches it.

    Between two neighbouring points of the frontier the logarithm of the speed is taken as linear in recall. Below the
    lowest point its own speed stands: a recall that was surpassed counts as reached, nothing is extrapolated.
    """
    curve = frontier(points)
    if not curve or curve[-1][0] < wanted:
        return None
    if curve[0][0] >= wanted:
        return curve[0][1], False
    for (low, fast), (high, slow) in zip(curve, curve[1:]):
        if high == wanted:
            return slow, False
        if low < wanted < high:
            share = (wanted - low) / (high - low)
            return math.exp(math.log(fast) + share * (math.log(slow) - math.log(fast))), True
    raise AssertionError("a frontier that reaches the recall has a segment around it")
