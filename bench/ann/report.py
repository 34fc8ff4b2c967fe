"""What a run leaves behind: results.json, results.csv, summary.md."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path
from typing import Any

from bench.ann import targets
from bench.ann.curves import RECALLS, at_recall
from bench.ann.runner import SPREAD_MAX

EXACT_REFERENCE = "faiss-flat"
ANN_REFERENCE = "hnswlib-native"
LOAD_PER_CORE_MAX = 0.2  # before a run; above it the machine was not its own
UNSTEADY = "~"
UNSTEADY_WORDS = (f"{UNSTEADY} marks a point that stayed unsteady: the middle ones of its rounds differ by more than "
                  f"{100 * SPREAD_MAX:.0f}% of the median, also after more rounds where there was time for them.")
COLUMNS = ("section", "dataset", "rows", "dimension", "metric", "threads", "algorithm", "k", "params", "queries",
           "recall", "identical_ids", "rounds", "qps_median", "qps_min", "qps_max", "spread", "build_seconds",
           "build_cpu_seconds", "build_threads", "memory_bytes", "bytes_per_vector", "index_bytes", "peak_rss_bytes",
           "huge_page_bytes", "version", "date", "commit")


def save(results: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    with open(folder / "results.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(csv_rows(results))


def csv_rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for section in results["sections"]:
        dataset = section["dataset"]
        for name, found in section["results"].items():
            for point in found["points"]:
                rows.append({
                    "section": section["kind"], "dataset": dataset["name"], "rows": dataset["rows"],
                    "dimension": dataset["dimension"], "metric": dataset["metric"], "threads": section["threads"],
                    "algorithm": name, "k": point["k"], "params": json.dumps(point["params"], sort_keys=True),
                    "queries": point["queries"], "recall": f"{point['recall']:.6f}",
                    "identical_ids": point["identical_ids"], "rounds": point["rounds"],
                    "qps_median": f"{point['qps_median']:.3f}", "qps_min": f"{point['qps_min']:.3f}",
                    "qps_max": f"{point['qps_max']:.3f}",
                    "spread": f"{spread(point):.4f}", "build_seconds": f"{found['build_seconds']:.3f}",
                    "build_cpu_seconds": found.get("build_cpu_seconds"), "build_threads": found.get("build_threads"),
                    "index_bytes": found.get("index_bytes"), "memory_bytes": found["memory_bytes"],
                    "bytes_per_vector": f"{found['memory_bytes'] / dataset['rows']:.1f}",
                    "peak_rss_bytes": found["peak_rss_bytes"], "version": found["version"],
                    "huge_page_bytes": found.get("huge_page_bytes"),
                    "date": section.get("measured", results["machine"])["date"],
                    "commit": section.get("measured", results["machine"])["commit"]})
    return rows


def number(value: float) -> str:
    if value >= 100_000:
        return f"{value / 1000:,.0f}k"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def thread_words(threads: int) -> str:
    return f"{threads} thread{'s' if threads > 1 else ''}"


def title(dataset: dict[str, Any]) -> str:
    return f"{dataset['name']}: {dataset['rows']:,} x {dataset['dimension']}, {dataset['metric']}"


def noise(point: dict[str, Any]) -> str:
    text = f"{number(point['qps_min'])}-{number(point['qps_max'])}"
    return text + (f" {UNSTEADY} {100 * spread(point):.0f}%" if is_unsteady(point) else "")


def spread(point: dict[str, Any]) -> float:
    return point.get("spread", (point["qps_max"] - point["qps_min"]) / point["qps_median"])


def is_unsteady(point: dict[str, Any]) -> bool:
    return spread(point) > SPREAD_MAX


def whole_words(dataset: dict[str, Any]) -> str:
    """What the elements are, for an 8-bit pass over them."""
    whole = dataset.get("whole_numbers", True if dataset.get("element") in ("u8", "i8") else None)
    if whole is None:
        return ""
    if whole:
        return " The elements are whole numbers: 8-bit codes may lose nothing here."
    return " The elements are no whole numbers: 8-bit codes lose some of them."


def huge_words(section: dict[str, Any]) -> str:
    """Shares of the participants' own memory in transparent huge pages, after building."""
    if any("huge_page_bytes" not in found for found in section["results"].values()):
        return "Measured while only numpy's arrays asked for huge pages, not the malloc of all."
    shares = [f"{name} {100 * found['huge_page_bytes'] / found['anonymous_bytes']:.0f}%"
              for name, found in section["results"].items()
              if found.get("huge_page_bytes") is not None and found.get("anonymous_bytes")]
    return f"Memory in huge pages: {', '.join(shares)}." if shares else ""


def load_warning(measured: dict[str, Any], cores: int) -> str:
    """A sentence when the machine was at work before it was measured; else ""."""
    load = measured["load_at_start"]
    if load <= LOAD_PER_CORE_MAX * cores:
        return ""
    return (f"the load before the run of {measured['date']} began was {load:.2f} on {cores} cores, more than "
            f"{LOAD_PER_CORE_MAX} per core: other work may have disturbed it")


def rounds_words(section: dict[str, Any]) -> str:
    rounds = [point["rounds"] for found in section["results"].values() for point in found["points"]]
    least, most = min(rounds, default=0), max(rounds, default=0)
    return str(least) if least == most else f"{least} to {most}"


def exact_table(section: dict[str, Any]) -> str:
    """All exact searches of one section, fastest first, with the ratio to FAISS."""
    found = section["results"]
    rows = []
    for k in sorted({point["k"] for result in found.values() for point in result["points"]}):
        points = {name: next((p for p in result["points"] if p["k"] == k), None) for name, result in found.items()}
        reference = points.get(EXACT_REFERENCE)
        for name, point in sorted(points.items(), key=lambda item: -(item[1] or {"qps_median": 0})["qps_median"]):
            if point is None:
                continue
            ratio = f"{point['qps_median'] / reference['qps_median']:.2f}" if reference else "-"
            rows.append([name, str(k), f"{point['queries']:,}", number(point["qps_median"]), noise(point), ratio,
                         f"{point['recall']:.4f}",
                         "yes" if point["identical_ids"] else "no",
                         f"{found[name]['memory_bytes'] / section['dataset']['rows']:,.0f}",
                         point.get("note", found[name]["note"])])
    return table(["algorithm", "k", "queries", "QPS", "min-max", f"x {EXACT_REFERENCE}", "recall", "ids as the truth",
                  "bytes/vector", "how"], rows)


def ann_tables(section: dict[str, Any]) -> str:
    found = section["results"]
    parts = []
    for k in sorted({point["k"] for result in found.values() for point in result["points"]}):
        rows = []
        values = {}
        for name, result in found.items():
            points = [point for point in result["points"] if point["k"] == k]
            values[name] = {recall: at_recall(points, recall) for recall in RECALLS} if points else {}
        reference = values.get(ANN_REFERENCE, {})
        others = {recall: targets.fastest_other(section, recall, k) for recall in RECALLS}
        middle = RECALLS[len(RECALLS) // 2]
        for name in sorted(values, key=lambda n: -((values[n].get(middle) or (0, False))[0])):
            row = [f"**{name}**" if is_ours(name) else name]
            for recall in RECALLS:
                value, base, other = values[name].get(recall), reference.get(recall), others[recall]
                if value is None:
                    row.append("-")
                    continue
                ratios = [f"{value[0] / base[0]:.2f}x"] if base else []
                ratios += [f"{value[0] / other[1]:.2f}x {other[0]}"] if other and is_graph_of_ours(name) else []
                row.append(number(value[0]) + ("" if value[1] else "*") + (f" ({'; '.join(ratios)})" if ratios else ""))
            rows.append(row)
        head = ["algorithm"] + [f"QPS at recall@{k} {recall:.2f}" for recall in RECALLS]
        parts.append(f"k = {k}; in brackets the ratio to {ANN_REFERENCE}, and of ours to the fastest of all other "
                     "peers:\n\n" + table(head, rows))
    parts += [build_table(section), batch_table(section), target_table(section)]
    return "\n\n".join(part for part in parts if part)


def is_ours(name: str) -> bool:
    return name.startswith("vecdb-")


def is_graph_of_ours(name: str) -> bool:
    return is_ours(name) and name != "vecdb-exact"


def build_table(section: dict[str, Any]) -> str:
    found, count = section["results"], section["dataset"]["rows"]
    reference = found.get(ANN_REFERENCE, {})
    rows = []
    for name, result in sorted(found.items(), key=lambda item: item[1].get("build_cpu_seconds", 0)):
        def to(key: str) -> str:
            ratio = targets.share(result, reference, key)
            return f" ({ratio:.2f}x)" if ratio else ""
        alone, cpu = result.get("build_seconds_alone"), result.get("build_cpu_seconds")
        threads = result.get("build_threads", section["build_threads"])
        rows.append([f"**{name}**" if is_ours(name) else name,
                     f"{result['build_seconds']:.1f}" + (" (kept)" if "built" in result else ""), str(threads),
                     f"{alone:.1f}" if alone else ("=" if threads == 1 else "-"),
                     f"{cpu:.1f}{to('build_cpu_seconds')}" if cpu is not None else "-",
                     f"{result['index_bytes'] / count:,.0f}{to('index_bytes')}" if result.get("index_bytes") else "-",
                     f"{result['memory_bytes'] / count:,.0f}", f"{result['peak_rss_bytes'] / 1e9:.2f}",
                     widest_noise(result), result["note"]])
    text = (f"Building; in brackets the ratio to {ANN_REFERENCE}:\n\n" + table(
        ["algorithm", "seconds", "threads", "seconds, one thread", "processor seconds", "index bytes/vector",
         "process bytes/vector", "peak memory, GB", "widest min-max of a point", "how"], rows))
    kept = [f"{name} ({result['built']['date']}, {thread_words(result['build_threads'])}, "
            f"load {result['built']['load']:.1f})" for name, result in found.items() if "built" in result]
    if kept:
        text += (f"\n\nKept from an earlier run on this machine, and loaded: {', '.join(kept)}. What building took is "
                 "what it took then, beside other work: of those, processor seconds are to be compared, not seconds.")
    return text


def batch_table(section: dict[str, Any]) -> str:
    rows = []
    for name, result in section["results"].items():
        batch = result.get("batch")
        if batch:
            one, many = (statistics.median(batch[key]) for key in ("seconds_one", "seconds_all"))
            rows.append([f"**{name}**" if is_ours(name) else name, json.dumps(batch["params"])[1:-1].replace('"', ""),
                         f"{batch['recall']:.4f}", number(batch["queries"] / one), number(batch["queries"] / many),
                         f"{batch['ratio']:.2f}x"])
    if not rows:
        return ""
    first = next(result["batch"] for result in section["results"].values() if "batch" in result)
    return (f"A batch of {first['queries']:,} queries, k = 10, by one core and by {first['threads']}, in turn "
            "(medians; the ratio is that of the pairs):\n\n" + table(
                ["algorithm", "at", "recall", "QPS, one core", f"QPS, {first['threads']} cores", "ratio"], rows))


def target_table(section: dict[str, Any]) -> str:
    rows = targets.rows(section)
    return "What we set out to reach:\n\n" + table(["what", "wanted", "measured", ""], rows) if rows else ""


def widest_noise(result: dict[str, Any]) -> str:
    spreads = [(p["qps_max"] - p["qps_min"]) / p["qps_median"] for p in result["points"]]
    unsteady = sum(map(is_unsteady, result["points"]))
    return (f"{100 * max(spreads):.0f}%" if spreads else "-") + (
        f" {UNSTEADY} {unsteady} of {len(spreads)} points" if unsteady else "")


def scan_table(scans: list[dict[str, Any]]) -> str:
    rows = []
    for scan in scans:
        def span(key: str) -> str:
            value = scan[key]
            return f"{value['median']:.1f} ({value['min']:.1f}-{value['max']:.1f})"
        rows.append([f"{scan['dataset']}, {scan['rows']:,} x {scan['dimension']} {scan['element']}",
                     str(scan["threads"]), span("read_gb_s"), scan.get("loop", "-"), span("scan_gb_s"),
                     f"{100 * scan['share']:.0f}%",
                     span("query_ms")])
    return table(["rows", "threads", "plain read, GB/s", "its loop", "search, GB/s", "share", "ms a query"], rows)


def machine_lines(results: dict[str, Any]) -> str:
    machine = results["machine"]
    cpu = machine["cpu"]
    lines = [
        f"- Processor: {cpu['model']}, {machine['cores']} cores used of {cpu['processors']}"
        f"{', virtual machine' if machine['virtual'] else ''}; {', '.join(machine['caches'])}",
        f"- Instructions: {' '.join(cpu['flags'])}",
        f"- Memory: {machine['memory_bytes'] / 2 ** 30:.0f} GiB, transparent huge pages {machine['huge_pages']}",
        f"- System: {machine['system']}, Python {machine['python']}",
    ]
    runs = runs_of(results)
    for measured, what in runs:
        took = f"; took {results['seconds'] / 60:.1f} minutes" if measured["date"] == machine["date"] else ""
        lines += [f"- {f'Measured ({what})' if len(runs) > 1 else 'Command'}: `{measured['command']}`; commit "
                  f"{measured['commit']}, {measured['date']}{took}; load before it began: "
                  f"{measured['load_at_start']:.2f}"]
    warnings = [load_warning(measured, machine["cores"]) for measured, _ in runs]
    text = [f"**Warning**: {warning}." for warning in warnings if warning]
    return "\n\n".join([*text, "\n".join(lines)])


def runs_of(results: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """The runs that the results come from, with what each has measured: several when some parts were done again."""
    words = {"scan": "one query at a time", "exact": "exact search", "ann": "approximate search"}
    parts = [("scan", scan["dataset"], scan) for scan in results["scans"]]
    parts += [(section["kind"], section["dataset"]["name"], section) for section in results["sections"]]
    runs: dict[str, tuple[dict[str, Any], dict[str, list[str]]]] = {}
    own = dict(results["machine"], command=results["command"])
    for kind, name, part in parts:
        measured = part.get("measured", own)
        key = json.dumps([measured["date"], measured["command"]])
        names = runs.setdefault(key, (measured, {}))[1].setdefault(kind, [])
        if name not in names:
            names.append(name)
    out = []
    for measured, kinds in runs.values():
        what = "; ".join(f"{words[kind]}: {', '.join(names)}" for kind, names in kinds.items())
        out.append((measured, what))
    return out or [(own, "")]


def versions_table(results: dict[str, Any]) -> str:
    versions: dict[str, list[str]] = {}
    for section in results["sections"]:
        for name, found in section["results"].items():
            if found["version"] not in versions.setdefault(name, []):
                versions[name].append(found["version"])
    return table(["algorithm", "version and build"], [[name, "; also ".join(texts)] for name, texts in sorted(
        versions.items())])


def point_of(section: dict[str, Any], name: str, k: int) -> dict[str, Any] | None:
    return next((p for p in section["results"].get(name, {"points": []})["points"] if p["k"] == k), None)


def marked(point: dict[str, Any]) -> str:
    return number(point["qps_median"]) + (f" {UNSTEADY}" if is_unsteady(point) else "")


def short_tables(results: dict[str, Any]) -> list[str]:
    """The whole run in a few lines: exact search against FAISS, and who approximates fastest."""
    parts = []
    rows = []
    for section in results["sections"]:
        if section["kind"] != "exact":
            continue
        for k in sorted({p["k"] for found in section["results"].values() for p in found["points"]}):
            reference = point_of(section, EXACT_REFERENCE, k)
            cells = []
            for name in ("vecdb-exact", "vecdb-exact-u8"):
                point = point_of(section, name, k)
                cells.append("-" if point is None else marked(point) + (
                    f" ({point['qps_median'] / reference['qps_median']:.2f}x)" if reference else ""))
            if cells != ["-", "-"]:
                rows.append([title(section["dataset"]), str(section["threads"]), str(k), *cells,
                             marked(reference) if reference else "-"])
    if rows:
        parts.append("Exact search, queries per second; in brackets the ratio to FAISS's flat index over float32 "
                     "(vecdb-exact-u8: over the same data as bytes). " + UNSTEADY_WORDS + "\n\n"
                     + table(["data", "threads", "k", "vecdb-exact", "vecdb-exact-u8", EXACT_REFERENCE], rows))
    rows = []
    for section in results["sections"]:
        if section["kind"] != "ann":
            continue
        for k in sorted({p["k"] for found in section["results"].values() for p in found["points"]}):
            values = {name: [p for p in found["points"] if p["k"] == k] for name, found in section["results"].items()}
            row = [title(section["dataset"]), str(k)]
            for recall in RECALLS:
                reached = {name: at_recall(points, recall) for name, points in values.items()}
                best = max((name for name in reached if reached[name]), key=lambda n: reached[n][0], default="")
                row.append(f"{best} {number(reached[best][0])}" if best else "-")
            rows.append(row)
    summary = targets_in_short(results)
    if summary:
        parts.append(summary)
    if rows:
        parts.append("Approximate search, the fastest at each recall, queries per second:\n\n"
                     + table(["data", "k"] + [f"at {recall:.2f}" for recall in RECALLS], rows))
    return parts


def targets_in_short(results: dict[str, Any]) -> str:
    """Our graph's speed at each recall beside what we set out to reach."""
    rows = []
    for section in results["sections"]:
        for row in targets.speed_rows(section) if section["kind"] == "ann" else []:
            cells = []
            for value, wanted in (row["hnswlib"], row["other"]):
                cells.append("-" if value is None else f"{value:.2f}x ({wanted:g}x: {targets.verdict(value, wanted)})")
            rows.append([title(section["dataset"]), f"{row['recall']:.2f}{'*' if row['surpassed'] else ''}",
                         number(row["qps"]) if row["qps"] else "-",
                         cells[0], cells[1] + (f" {row['name']}" if row["name"] else "")])
    if not rows:
        return ""
    return ("Approximate search by the quantised graph, k = 10; in brackets what we set out to reach. * marks a recall "
            "below which one of those compared has no point, so that it may be faster there than it is counted.\n\n"
            + table(["data", "recall", "QPS", f"to {ANN_REFERENCE}", "to the fastest other peer"], rows))


def missing_table(results: dict[str, Any]) -> str:
    """Every attempt and every installation that failed."""
    rows = [[name, "everywhere", f"does not install: {reason}"] for name, reason in results["not_installed"].items()]
    rows += [[name, "everywhere", reason] for name, reason in results.get("missing_sets", {}).items()]
    rows += [["vecdb, one query at a time", where, reason] for where, reason in results.get("failed_scans", {}).items()]
    where: dict[tuple[str, str], list[str]] = {}
    for section in results["sections"]:
        for name, reason in section["failed"].items():
            where.setdefault((name, reason), []).append(
                f"{section['dataset']['name']}, {thread_words(section['threads'])}")
    rows += [[name, "; ".join(dict.fromkeys(places)), reason] for (name, reason), places in where.items()]
    if not rows:
        return "Everyone took part."
    clean = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return table(["what", "where", "why"], clean)


def left_out(results: dict[str, Any]) -> str:
    """Those who were not asked in this run, which is no failure of theirs."""
    asked = {name for section in results["sections"] for name in [*section["results"], *section["failed"]]}
    names = [name for name in results.get("everyone", []) if name not in asked]
    return f"Not measured here, though the harness has them: {', '.join(names)}." if names and asked else ""


def markdown(results: dict[str, Any], plots: dict[str, str]) -> str:
    """The whole report. plots: section key -> path of its picture, as the text shall name it."""
    parts = [machine_lines(results)]
    short = short_tables(results)
    runs = runs_of(results)
    if short:
        parts += ["### In short", *short]
    if results.get("scans"):
        parts += ["### One query at a time against the memory's speed",
                  "All rows are read for each query; the plain read does nothing but load, by the fastest of several "
                  "loops there. Both alternate.",
                  scan_table(results["scans"])]
    for kind, heading in (("exact", "### Exact search"), ("ann", "### Approximate search")):
        sections = [section for section in results["sections"] if section["kind"] == kind]
        if sections:
            parts.append(heading)
        if sections and kind == "ann":
            parts.append("QPS at a recall is interpolated between measured points (logarithm of QPS linear in recall); "
                         "* marks a measured point, which may have a higher recall; - was not reached. "
                         + UNSTEADY_WORDS)
        for section in sections:
            threads = section["threads"]
            parts.append(f"#### {title(section['dataset'])}, {thread_words(threads)}")
            measured = section.get("measured", results["machine"])
            when = f" Measured {measured['date']}, commit {measured['commit']}." if len(runs) > 1 else ""
            parts.append(f"Data: {section['dataset']['source']}.{whole_words(section['dataset'])} Rounds: "
                         f"{rounds_words(section)}.{when}")
            for key, path in plots.items():
                if key.startswith(section["key"] + "."):
                    parts.append(f"![{key}]({path})")
            parts.append(exact_table(section) if kind == "exact" else ann_tables(section))
            parts.append(huge_words(section))
            if len(section["groups"]) > 1:
                parts.append("Memory did not hold all at once; interleaved within: "
                             + "; ".join(", ".join(group) for group in section["groups"]) + ".")
    parts += ["### Who could not take part", missing_table(results), left_out(results), "### Versions",
              versions_table(results)]
    return "\n\n".join(part for part in parts if part) + "\n"
