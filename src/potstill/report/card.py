"""The model card of a student: `student/README.md`, with the metadata that model hubs read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..atomic import write_text
from ..texts import whole
from .numbers import NONE, count, excerpt, large, p_value, percent, percent_range, score, score_range, size, times
from .runfiles import RunFiles, at, group, items, number, read_run
from .summary import Summary, costs, excluded, summarise, warnings

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def write_card(run: Path) -> Path:
    """Write `student/README.md` into a run folder and return its path; errors as `model_card`."""
    out = Path(run) / "student" / "README.md"
    write_text(out, model_card(run))
    return out


def model_card(run: Path) -> str:
    """Compose the model card of a run's student as Markdown with YAML front matter, from the run's files alone.

    Raises:
        InputError: `run` is not a run folder.

    """
    summary = summarise(read_run(Path(run)))
    parts = [
        _front_matter(summary),
        f"# {_md(_title(summary))}",
        f"{_md(summary.headline)}. {_md(summary.verdict)} {_md(summary.role)}",
        _usage(summary),
        _serves(summary),
        _evaluation(summary),
        _cost(summary),
        _data(summary.files),
        _limits(summary),
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    return whole(text)


def _title(s: Summary) -> str:
    kind = at(s.files.run, "student", "kind")
    return f"{s.teacher} for {s.collection}, distilled{f' ({kind})' if kind else ''}"


def _front_matter(s: Summary) -> str:
    import yaml

    run = s.files.run
    teacher = str(at(run, "teacher", "name") or "")
    kind = at(run, "student", "kind")
    ranks = s.towers == "pairs"
    tags = [
        "sentence-transformers",
        *(("cross-encoder", "reranker") if ranks else ("sentence-similarity", "feature-extraction")),
        "retrieval",
        "distillation",
        "potstill",
    ]
    data: dict[str, Any] = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "text-ranking" if ranks else "sentence-similarity",
        "license": str(run.get("license") or "other"),
        "tags": tags + ([f"potstill-{kind}"] if kind else []),
    }
    # Hubs link `base_model`; a folder (known by its contents' digest) or a service is no id that they could link.
    folder = str(at(run, "teacher", "fingerprint", "revision") or "").startswith("blake2b:")
    if _HUB_ID.fullmatch(teacher) and not folder:
        data["base_model"] = teacher
    data["teacher"] = teacher or "unknown"
    if s.judged:
        metrics = [
            {"type": _metric_type(row.name), "name": row.name, "value": round(row.student.value, 5)}
            for row in s.rows
            if row.student.value is not None
        ]
        metrics += [
            {
                "type": f"retention_{_metric_type(row.name)}",
                "name": f"{row.name} kept",
                "value": round(row.kept.value, 5),
            }
            for row in s.rows
            if row.kept.value is not None
        ]
        dataset = {
            "type": _metric_type(s.collection),
            "name": s.collection,
            "split": str(s.files.evaluation.get("split")),
        }
        task = {"type": "information-retrieval", "name": "Information Retrieval"}
        data["model-index"] = [{"name": _title(s), "results": [{"task": task, "dataset": dataset, "metrics": metrics}]}]
    return "---\n" + yaml.safe_dump(data, sort_keys=False, allow_unicode=True) + "---"


def _usage(s: Summary) -> str:
    if s.towers == "pairs":
        return _RANKS
    metric = at(s.files.run, "teacher", "metric")
    compare = {"dot": "dot product", "cosine": "cosine"}.get(str(metric), "the teacher’s similarity")
    what = "query vectors for the teacher’s index" if s.towers == "asymmetric" else "query vectors"
    return f"""## Usage

With sentence-transformers alone:

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/student")
vectors = model.encode(["what you search for"])  # {what}; compare by {compare}
```

With Potstill, which is faster for one query at a time{" and needs no torch" if _is_static(s) else ""}:

```python
import potstill

vectors = potstill.load("path/to/student").encode_queries(["what you search for"])
```

With onnxruntime and tokenizers alone, once `potstill export` has written it as one graph (its prompt, where it has one,
goes before the text):

```python
import numpy, onnxruntime, tokenizers

text = tokenizers.Tokenizer.from_file("export/onnx-fp32/tokenizer.json").encode("what you search for")
ids = {{"input_ids": numpy.array([text.ids]), "attention_mask": numpy.array([text.attention_mask])}}
vectors = onnxruntime.InferenceSession("export/onnx-fp32/model.onnx").run(["vector"], ids)[0]
```

As a service in the shapes of OpenAI and text-embeddings-inference: `potstill serve path/to/student`.{_tei(s)}"""


def _tei(s: Summary) -> str:
    """What text-embeddings-inference itself makes of the student: it has no static models and no head of ours."""
    if _is_static(s):
        return ""
    return (
        " text-embeddings-inference reads the folder too where it supports the architecture (BERT, RoBERTa, MPNet, "
        "ModernBERT and others) and the student has no head: `--model-id path/to/student`."
    )


_RANKS = """## Usage

With sentence-transformers alone:

```python
from sentence_transformers import CrossEncoder

model = CrossEncoder("path/to/student")
ranked = model.rank("what you search for", ["a document that a search found", "another"])
```"""


def _is_static(s: Summary) -> bool:
    return str(at(s.files.run, "student", "kind") or "").startswith("static")


def _serves(s: Summary) -> str:
    run = s.files.run
    fingerprint = group(run, "teacher", "fingerprint")
    lines = [f"- Teacher: {_code(at(run, 'teacher', 'name') or 'unknown')}"]
    told = [f"{key} {_code(value)}" for key, value in fingerprint.items() if value not in (None, "", [], {})]
    if told:
        lines.append(f"- Encoded with: {', '.join(told)}")
    dimensions, metric = number(at(run, "teacher", "dimensions")), at(run, "teacher", "metric")
    if dimensions:
        lines.append(f"- Vectors: {count(dimensions)} dimensions{f', compared by {_md(metric)}' if metric else ''}")
    lines.append(f"- Towers: {s.towers}")
    if s.towers == "asymmetric":
        lines.append(
            "- Index: document vectors made by this teacher, in this way. With vectors of another model, or of this "
            "one with another prompt, pooling or normalisation, results are meaningless."
        )
    student = group(run, "student")
    described = [_md(student.get("description") or student.get("kind") or "")]
    parameters = number(student.get("parameters"))
    if parameters and count(parameters) not in described[0]:
        described.append(f"{large(parameters)} parameters")
    described += [size(n) for n in [number(student.get("bytes"))] if n]
    lines.append(f"- Student: {', '.join(text for text in described if text) or 'not recorded'}")
    return "## What it serves\n\n" + "\n".join(lines)


def _evaluation(s: Summary) -> str:
    lines = ["## Evaluation", ""]
    if s.judged:
        lines += [_md(s.basis) + " Intervals are 95 %.", ""]
        lines += ["| Measure | Teacher | Student | Kept | p | Reading |", "|---|---|---|---|---|---|"]
        for row in s.rows:
            pairs = [
                (score(row.teacher.value), score_range(row.teacher.low, row.teacher.high)),
                (score(row.student.value), score_range(row.student.low, row.student.high)),
                (percent(row.kept.value), percent_range(row.kept.low, row.kept.high)),
            ]
            cells = [f"{value} ({interval})" if interval else value for value, interval in pairs]
            p = p_value(row.p).removeprefix("p").strip().removeprefix("=").strip() or NONE
            lines.append(f"| {_md(row.name)} | {' | '.join(cells)} | {_md(p)} | {row.reading} |")
    else:
        lines.append("Nothing was judged: there is no measure of how good the results are.")
    if s.agreement.value is not None:
        lines += ["", _md(s.agreed)]
    return "\n".join(lines)


def _cost(s: Summary) -> str:
    rows = [f"| {row.name} | {row.show(row.teacher)} | {row.show(row.student)} |" for row in costs(s.files.evaluation)]
    if not rows:
        return ""
    one = "pair" if s.towers == "pairs" else "query"
    faster = f" One {one} is {times(s.speed_up)} times as fast." if s.speed_up and s.speed_up >= 1 else ""
    cpu = at(s.files.run, "machine", "cpu")
    where = f" on {_md(cpu)}" if cpu else ""
    way = "From the texts of a list to its scores" if s.towers == "pairs" else "From text to vector"
    head = ["## Cost", "", f"{way}, one thread, measured in one run{where}.{faster}", ""]
    return "\n".join([*head, "| | Teacher | Student |", "|---|---|---|", *rows])


def _data(files: RunFiles) -> str:
    queries, collection = group(files.run, "queries"), group(files.run, "collection")
    if not queries and not collection:
        return ""
    documents = number(collection.get("documents"))
    lines = ["## Training data", ""]
    about = _md(collection.get("name") or "a collection") + (f", {count(documents)} documents" if documents else "")
    judged = number(queries.get("judged"))
    said = f"Judgments of {count(judged)} training queries were learned from. " if judged else ""
    lines.append(
        f"{said}Queries{'' if judged else ' without labels'} drawn from {about}; the targets are the teacher’s."
    )
    sources = group(queries, "sources")
    if sources:
        lines.append("")
    for name, n in sources.items():
        examples = ", ".join(_code(excerpt(text)) for text in items(queries, "examples", name)[:2])
        told = f", such as {examples}" if examples else ""
        lines.append(f"- {_md(str(name).replace('_', ' '))}: {count(number(n))}{told}")
    if kept_out := excluded(files):
        lines += ["", f"Kept out of training: {_md(', '.join(kept_out))}."]
    return "\n".join(lines)


def _limits(s: Summary) -> str:
    truncated = number(at(s.files.run, "queries", "truncated"))
    lines = [
        f"- Made for {_md(s.collection)}: on texts of another domain or language it may keep less, and nothing here "
        "says how much.",
        "- It imitates its teacher, errors and biases included.",
    ]
    if s.towers == "asymmetric":
        lines.append("- It encodes queries. For documents use the teacher.")
    if not s.judged:
        lines.append("- Nothing was judged. Judge some queries of your own before relying on it.")
    if truncated:
        lines.append(f"- {count(truncated)} training queries are longer than the teacher’s limit and are cut there.")
    return "## Limits\n\n" + "\n".join(lines + [f"- {_md(line)}" for line in warnings(s.files)])


def _metric_type(name: str) -> str:
    """`nDCG@10` as `ndcg_at_10`, the spelling of model hubs."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower().replace("@", "_at_")).strip("_")


def _md(text: object) -> str:
    """Put a text on one line, its Markdown and HTML signs made harmless."""
    line = " ".join(str(text).split())
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", line).replace("&", "&amp;").replace("<", "&lt;")


def _code(text: object) -> str:
    """Give a text as inline code, whatever it holds."""
    line = " ".join(str(text).split())
    fence = "`" * (max((len(run) for run in re.findall(r"`+", line)), default=0) + 1)
    pad = " " if "`" in line else ""
    return f"{fence}{pad}{line}{pad}{fence}" if line else "(empty)"
