"""The table that a terminal shows after an evaluation."""

from __future__ import annotations

from typing import Any


def evaluation_table(found: dict[str, Any]) -> str:
    """Format what `evaluation.json` holds as plain text: one line a measure, then agreement and cost."""
    lines: list[str] = []
    if found["systems"]:
        lines.append(
            f"{found['collection']}, {found['split']}: {found['queries']:,} queries, {found['documents']:,} documents"
        )
        lines.append(f"{'measure':<12}{'teacher':>9}{'student':>9}   retention (95 % interval)        p")
        for name, teacher in found["systems"]["teacher"].items():
            kept = found["retention"][name]
            student = found["systems"]["student"][name]
            lines.append(f"{name:<12}{teacher:>9.4f}{student:>9.4f}   {_kept(kept):<28} {kept['p']:>7.4f}")
    else:
        lines.append(f"{found['collection']}: nothing was judged, so only agreement with the teacher is known")
    for name, shared in found["agreement"].items():
        lines.append(
            f"agreement    {name} {shared['value']:.4f} ({shared['low']:.4f} to {shared['high']:.4f}) "
            f"over {shared['queries']:,} {shared['source']}"
        )
    for width, prefix in (found.get("prefixes") or {}).items():
        for name, kept in prefix.get("retention", {}).items():
            lines.append(f"first {width} dimensions: retention of {name} {_kept(kept)}")
    lines.extend(_reranking(found.get("reranking") or {}))
    for name, cost in found["cost"].items():
        if "pair_ms" in cost:
            adds = cost["multiply_adds"]
            counted = f", {adds / 1e6:,.2f} million multiply-adds" if adds else ""
            lines.append(f"{name:<12} {_numbers(cost)}{cost['pair_ms']:.3f} ms a pair{counted}")
            continue
        size = f"{cost['parameters']:,} numbers, {cost['bytes'] / 1e6:,.1f} MB, " if cost["parameters"] else ""
        lines.append(
            f"{name:<12} {size}one query {cost['query_ms_p50']:.3f} ms (p99 {cost['query_ms_p99']:.3f}), "
            f"{cost['queries_per_s']:,.0f} queries/s in batches"
        )
    return "\n".join(lines)


def _numbers(cost: dict[str, Any]) -> str:
    return f"{cost['parameters']:,} numbers, " if cost["parameters"] else ""


def ensemble_table(found: dict[str, Any]) -> str:
    """Format what `potstill ensemble` found: how alike teachers are, each system's measures, what the student keeps."""
    reference, measures = found["reference"], list(next(iter(found["systems"].values())))
    lines = [
        f"{found['collection']}, {found['split']}: {found['queries']:,} queries, up to {found['depth']:,} candidates"
    ]
    for pair in found["pairs"]:
        rank = "-" if pair["rank_correlation"] is None else f"{pair['rank_correlation']:.2f}"
        lines.append(f"  {pair['first']} and {pair['second']}: rank correlation {rank}")
    heads = "".join(f"{name:>11}" for name in measures)
    lines.append(f"{'system':<22}{heads}   {measures[0]} against {reference} (95 % interval)       p     Holm")
    holm = (found.get("holm") or {}).get(measures[0], {})
    compared = _against(found)
    for system, values in found["systems"].items():
        shown = "".join(f"{values[name]:>11.4f}" for name in measures)
        kept = (compared.get(system) or {}).get(measures[0])
        said = ""
        if kept:
            said = f"   {_kept(kept):<32} {kept['p']:>8.4f}"
            said += f" {holm[system]:>8.4f}" if system in holm else ""
        lines.append(f"{system:<22}{shown}{said}")
    for name, cost in found["cost"].items():
        if name == "unknown":
            lines.append(f"cost: unknown of {', '.join(cost)}, whose scores are only looked up")
            continue
        adds = cost["multiply_adds_per_pair"]
        counted = f", {adds / 1e6:,.2f} million multiply-adds" if adds else ""
        lines.append(f"cost: {name}: {cost['ms_per_pair']:.3f} ms a pair{counted} ({cost['lists']} lists)")
    if found["student"]:
        lines.extend(_of_student(found, reference))
    return "\n".join(lines)


def _against(found: dict[str, Any]) -> dict[str, Any]:
    """Retention of each system against the reference."""
    _, first, *_ = found["systems"]
    return {first: found["retention"]} | {name: each["retention"] for name, each in found["comparisons"].items()}


def _of_student(found: dict[str, Any], reference: str) -> list[str]:
    said, lines = found["student"], []
    share = said["share_of_cost"]
    cost = f" at {share['time']:.2%} of its inference time" if "time" in share else ""
    cost += f" and {share['multiply_adds']:.2%} of its multiply-adds" if "multiply_adds" in share else ""
    for name, kept in said["retention"][reference].items():
        lines.append(f"{said['name']} keeps {_kept(kept)} of the {reference} ensemble's {name}{cost}")
    return lines


def _reranking(found: dict[str, Any]) -> list[str]:
    """Systems on the same lists, by the first measure."""
    if not found:
        return []
    name = next(iter(found["systems"]["student"]))
    what = "each query's list" if "reference" in found else f"the teacher's first {found['depth']}"
    lines = [f"re-ranking {what}, {name}:"]
    for system, measures in found["systems"].items():
        kept = found["retention"]["student"].get(system)
        said = f"   the student keeps {_kept(kept[name])}, p {kept[name]['p']:.4f}" if kept else ""
        lines.append(f"  {system:<20}{measures[name]:>9.4f}{said}")
    return lines


def _kept(retention: dict[str, Any]) -> str:
    """A retention with its interval, as far as there are any: both need queries that the teacher answers."""
    if retention["value"] is None:
        return "not defined"
    if retention["low"] is None:
        return f"{retention['value']:.4f} (no interval)"
    return f"{retention['value']:.4f} ({retention['low']:.4f} to {retention['high']:.4f})"
