"""What a check found, as plain text."""

from __future__ import annotations

from typing import Any


def check_table(found: dict[str, Any]) -> str:
    """Format the result of a check: the verdict and its reasons, then the student against the teacher by effort."""
    index, teacher, probe = found["index"], found["teacher"], found["probe"]
    lines = [
        f"index    {index['path']}: {index['kind']}, {index['documents']:,} documents of {index['dimensions']} numbers,"
        f" compared by {index['metric']}",
        f"teacher  {teacher['name']}: {teacher['dimensions']} numbers, compared by {teacher['metric']}",
    ]
    if probe["cosine_mean"] is not None:
        lines.append(
            f"sample   {probe['sampled']:,} vectors encoded again: cosine {probe['cosine_mean']:.4f} on average,"
            f" {probe['cosine_least']:.4f} at least; largest difference {probe['difference']:.2g}"
        )
        lines.append(
            f"lengths  stored {_spread(probe['norm_stored'])}, encoded again {_spread(probe['norm_encoded'])}"
            " (least, mean, largest)"
        )
    lines += [f"note     {note}" for note in probe["notes"]]
    unproven = probe["compatible"] and probe["cosine_mean"] is None
    verdict = "INCOMPATIBLE" if not probe["compatible"] else "nothing speaks against it" if unproven else "compatible"
    lines.append(f"verdict  {verdict}")
    lines += [f"         {problem}" for problem in probe["problems"]]
    if found["student"] is not None:
        lines += ["", *_student(found["student"], index, found["k"])]
        if found["student"]["problem"]:
            lines.append(f"verdict  INCOMPATIBLE: {found['student']['problem']}")
    return "\n".join(lines)


def _student(student: dict[str, Any], index: dict[str, Any], k: int) -> list[str]:
    lines = [
        f"student  {student['name']}, {student['queries']:,} queries (95 % bootstrap intervals)",
        f"exact rankings of student and teacher share {_interval(student['overlap'])} of their first {k}",
    ]
    if index["effort"] is None:
        lines.append("the index is searched exhaustively: effort means nothing here")
        if student["rungs"][0]["teacher"]["value"] < 1 or student["rungs"][0]["student"]["value"] < 1:
            rung = student["rungs"][0]
            lines.append(f"recall@{k}: teacher {_interval(rung['teacher'])}, student {_interval(rung['student'])}")
    else:
        name = index["effort_name"]
        lines.append(f"recall@{k} of the index against exact search with the same vectors:")
        lines.append(f"{name:>10}  {'teacher':<27}{'student':<27}student - teacher")
        for rung in student["rungs"]:
            mark = " *" if rung["effort"] == index["effort"] else "  "
            lines.append(
                f"{rung['effort']:>8,}{mark}  {_interval(rung['teacher']):<27}{_interval(rung['student']):<27}"
                f"{_interval(rung['difference'], '+')}"
            )
        lines.append(f"         * {name} unless told otherwise")
        lines.append(_extra(student["extra"], name))
    for measure, systems in (student["measures"] or {}).items():
        lines.append(f"{measure}:")
        lines += [f"  {system:<22} {_interval(value)}" for system, value in systems.items()]
    return lines


def _extra(extra: dict[str, Any], name: str) -> str:
    target = f"the teacher's recall at {name} {extra['default']:,} ({extra['target']:.4f})"
    if extra["effort"] is None:
        return (
            f"extra effort: the student does not reach {target} up to {extra['tried']:,}; {extra['reached']:.4f} there"
        )
    return f"extra effort: the student reaches {target} at {extra['effort']:,}, {extra['ratio']:.2f} times as much"


def _interval(interval: dict[str, float], sign: str = "") -> str:
    return f"{interval['value']:{sign}.4f} ({interval['low']:{sign}.4f} to {interval['high']:{sign}.4f})"


def _spread(lengths: tuple[float, float, float]) -> str:
    return ", ".join(f"{length:.3f}" for length in lengths)
