"""Pictures: recall against QPS for each data set and k, bars for exact search. SVG and PNG, by matplotlib."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from bench.ann.curves import frontier

MARKERS = "os^Dv<>Ph*Xp"
OURS_COLOURS = {"vecdb-qgraph": "#c1121f", "vecdb-qgraph-compact": "#f2994a", "vecdb-hnsw": "#1f6fb2",
                "vecdb-hnsw-f16": "#56b4e9", "vecdb-exact": "#111111"}
REFERENCE = "hnswlib-native"  # in black, dashed
PEER_COLOURS = ("#5b8c5a", "#8c7aa9", "#a6761d", "#7f7f7f", "#d48fb6", "#9bbb59", "#6d8ea0", "#b5a27c",
                "#b07aa1", "#4e7d7a", "#c9a227")  # not as many as MARKERS: each pair comes once
RECALL_SHOWN_MAX = 0.9997  # what is above stands at the edge
RECALL_TICKS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)


def draw(results: dict[str, Any], folder: Path) -> dict[str, Path]:
    """Draws every section into folder; {"section key.what": path of the SVG}. Empty without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return {}
    matplotlib.use("Agg")
    # The same input gives the same bytes: no date, no random ids in the SVG.
    matplotlib.rcParams.update({"svg.hashsalt": "vecdb", "svg.fonttype": "none", "font.size": 9,
                                "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 110})
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    out: dict[str, Path] = {}
    for section in results["sections"]:
        for k in sorted({p["k"] for found in section["results"].values() for p in found["points"]}):
            figure = bars(pyplot, section, k) if section["kind"] == "exact" else curves(pyplot, section, k)
            key = f"{section['key']}.k{k}"
            path = folder / f"{key.replace('.', '-')}.svg"
            figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
            figure.savefig(path.with_suffix(".png"), bbox_inches="tight")
            pyplot.close(figure)
            out[key] = path
    return out


def heading(section: dict[str, Any], k: int) -> str:
    dataset, threads = section["dataset"], section["threads"]
    return (f"{dataset['name']} ({dataset['rows']:,} x {dataset['dimension']}, {dataset['metric']}), k = {k}, "
            f"{threads} thread{'s' if threads > 1 else ''}")


def bars(pyplot: Any, section: dict[str, Any], k: int) -> Any:
    points = [(name, point) for name, found in section["results"].items() for point in found["points"]
              if point["k"] == k]
    points.sort(key=lambda item: item[1]["qps_median"])
    names = [name for name, _ in points]
    medians = [point["qps_median"] for _, point in points]
    spread = [[point["qps_median"] - point["qps_min"] for _, point in points],
              [point["qps_max"] - point["qps_median"] for _, point in points]]
    figure, axes = pyplot.subplots(figsize=(7, 0.6 + 0.32 * len(points)))
    colours = ["#1f6fb2" if name.startswith("vecdb") else "#b8bcc2" for name in names]
    axes.barh(names, medians, xerr=spread, color=colours, error_kw={"elinewidth": 1, "ecolor": "#444"})
    for row, median in enumerate(medians):
        axes.text(median, row, f" {median:,.0f}", va="center", fontsize=8)
    axes.set_xlabel("queries per second (median; line: min to max)")
    axes.set_title(heading(section, k), fontsize=10)
    return figure


def stretched(recall: float) -> float:
    """Where a recall stands: what is missing to 1, logarithmically, since all that matters lies close to 1."""
    return -math.log10(1 - min(recall, RECALL_SHOWN_MAX))


def ours_first(item: tuple[str, Any]) -> tuple[bool, str]:
    return not item[0].startswith("vecdb"), item[0]


def curves(pyplot: Any, section: dict[str, Any], k: int) -> Any:
    """Ours as heavy lines in strong colours, peers as thin ones in muted ones."""
    figure, axes = pyplot.subplots(figsize=(7, 4.6))
    for number, (name, found) in enumerate(sorted(section["results"].items(), key=ours_first)):
        points = [point for point in found["points"] if point["k"] == k]
        if not points:
            continue
        line = frontier(points)
        ours = name.startswith("vecdb")
        colour = OURS_COLOURS.get(name) or PEER_COLOURS[number % len(PEER_COLOURS)]
        colour, style = ("#000000", "--") if name == REFERENCE else (colour, "-")
        axes.plot([stretched(recall) for recall, _ in line], [qps for _, qps in line],
                  marker=MARKERS[number % len(MARKERS)], markersize=5 if ours else 3.5, linewidth=2.6 if ours else 1.0,
                  color=colour, linestyle=style, label=f"{name} (ours)" if ours else name, zorder=3 if ours else 2)
    axes.set_yscale("log")
    axes.set_xlim(left=max(stretched(RECALL_TICKS[0]), axes.get_xlim()[0]), right=stretched(1) + 0.05)
    axes.set_xticks([stretched(recall) for recall in RECALL_TICKS], [f"{recall:g}" for recall in RECALL_TICKS])
    axes.set_xlabel(f"recall@{k}, stretched towards 1")
    axes.set_ylabel("queries per second")
    axes.grid(True, which="both", linewidth=0.3)
    axes.set_title(heading(section, k), fontsize=10)
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure
