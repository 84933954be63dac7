"""Teach a generator: judged pairs in, a model that writes queries for documents out."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..collection import Collection, open_collection
from ..progress import say, warn
from ..queries.seq2seq import Seq2Seq
from ..recipe import GeneratorSpec, TeachGeneratorSpec
from ..teachers.loading import weights_identity
from ..teachers.sentence_encoder import stored_numbers
from ..teaching.generator import GeneratorTask
from ..teaching.judged import Judged, judged_pairs
from ..teaching.writers import save_writer, untrained_writer
from ..teaching.writing_material import WritingMaterial, gather_pairs
from ..training.loop import learn
from .runfolder import Record, claimed

SPEC, RECORD, MODEL = "teach.yaml", "teach.json", "model"


def teach_generator(spec: TeachGeneratorSpec, out: Path, *, resume: bool = False) -> dict[str, Any]:
    """Train a model on the judgments of a collection to write a query for a document.

    Writes into `out`: `teach.yaml`, `metrics.jsonl`, `checkpoints/`, `model/` and `teach.json`.

    Args:
        spec: all that decides it.
        out: folder to write; must be new or empty unless `resume`.
        resume: go on with the run in that folder.

    Returns:
        What `teach.json` holds.

    Raises:
        InputError: something in the input is wrong; told before work starts wherever it can be seen then.
        Interrupted: Ctrl-C; `resume` goes on.
    """
    with claimed(out, spec, resume=resume, name=SPEC):
        record = Record(out, spec.training.seed, RECORD)
        collection = open_collection(spec.collection)
        judged = judged_pairs(collection, spec)
        for line in collection.notes.lines():
            say(f"collection: {line}")
        for reason, count in judged.excluded.items():
            say(f"judgments: {count:,} queries of {spec.split} left out: {reason}")
        with record.timed("model"):
            model, tokenizer = untrained_writer(spec)
        with record.timed("pairs"):
            material = gather_pairs(collection, judged, spec, tokenizer, model.generation_config)
        _tell(material, spec)
        record.data |= _about(spec, collection, judged, model) | {"pairs": material.counts}
        task = GeneratorTask(model)
        with record.timed("training"):
            result = learn(
                task,
                material.data,
                spec.training,
                out,
                validate=material.validation,
                resume=resume,
                digest={
                    "settings": spec.model_dump_json(exclude={"training", "collection", "base", "revision"}),
                    "collection": collection.fingerprint(),
                    "base": _weights(spec),
                },
            )
        save_writer(model, tokenizer, out / MODEL)
        record.data["training"] = asdict(result)
        record.data["validation"] = _validations(out / "metrics.jsonl", result.best_step or 0)
        if result.best_step == 0:
            line = "no epoch beat the untrained model: lower training.learning_rate, or give more pairs"
            record.data["warnings"].append(line)
            warn(line)
        with record.timed("examples"):
            record.data["examples"] = _examples(material, spec, out / MODEL)
        record.write()
        return record.data


def _tell(material: WritingMaterial, spec: TeachGeneratorSpec) -> None:
    counts = material.counts
    say(f"pairs: {counts['epoch_pairs']:,} an epoch, of {counts['pairs']:,}; {counts['held_out_pairs']:,} validate")
    for name, what in (
        ("without_text", "judged pairs left out: the document has no text"),
        ("unknown_documents", "judged documents are not in the collection"),
        ("documents_cut", f"documents are read up to {spec.max_input} tokens"),
        ("queries_cut", f"queries are learned up to {spec.max_output} tokens"),
    ):
        if counts[name]:
            say(f"pairs: {counts[name]:,} {what}")


def _about(spec: TeachGeneratorSpec, collection: Collection, judged: Judged, model: Any) -> dict[str, Any]:
    count, size = stored_numbers([model])
    return {
        "kind": spec.kind,
        "base": {"model": spec.base, "weights": _weights(spec)},
        "collection": {
            "name": collection.name,
            "source": collection.source,
            "documents": collection.document_count,
            "fingerprint": collection.fingerprint(),
            "notes": collection.notes.lines(),
        },
        "split": spec.split,
        "queries": {"train": len(judged.train), "held_out": len(judged.held_out), "excluded": judged.excluded},
        "model": {
            "folder": MODEL,
            "architecture": type(model).__name__,
            "parameters": count,
            "bytes": size,
            "max_input": spec.max_input,
            "max_output": spec.max_output,
            "prefix": spec.prefix,
        },
    }


def _examples(material: WritingMaterial, spec: TeachGeneratorSpec, folder: Path) -> list[dict[str, str]]:
    """What the model, as it was saved, writes for a few documents of held-out queries."""
    how = GeneratorSpec(
        model=str(folder), each=1, prefix=spec.prefix, max_input=spec.max_input, max_output=spec.max_output
    )
    writer = Seq2Seq(how, spec.training.seed)
    written = writer.write([document for document, _ in material.examples])
    return [
        {"document": document[:200], "asked": asked, "written": texts[0]}
        for (document, asked), texts in zip(material.examples, written, strict=True)
    ]


def _weights(spec: TeachGeneratorSpec) -> str:
    return weights_identity(spec.base, spec.revision)[1] or spec.base


def _validations(path: Path, best: int) -> dict[str, dict[str, float]]:
    """The measures before the first update and at the best step."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    by_step = {line["step"]: line["validation"] for line in lines if "validation" in line}
    return {
        name: {key: value for key, value in by_step[step].items() if key != "score"}
        for name, step in (("before", 0), ("after", best))
    }
