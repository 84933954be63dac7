"""Teach a generator: judged pairs in, a model that writes queries for documents out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..progress import say
from ..queries.seq2seq import Seq2Seq
from ..recipe import GeneratorSpec, TeachGeneratorSpec
from ..teaching.generator import GeneratorTask
from ..teaching.writers import save_writer, untrained_writer
from ..teaching.writing_material import WritingMaterial, gather_pairs
from ..training.loop import learn
from .runfolder import Record, claimed
from .teach_record import MODEL, NONE_BETTER, RECORD, SPEC, about, identity, opened, validations


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
        collection, judged = opened(spec)
        with record.timed("model"):
            model, tokenizer = untrained_writer(spec)
        with record.timed("pairs"):
            material = gather_pairs(collection, judged, spec, tokenizer, model.generation_config)
        _tell(material, spec)
        record.data |= about(spec, collection, judged, model) | {"pairs": material.counts}
        record.data["model"] |= {
            "architecture": type(model).__name__,
            "max_input": spec.max_input,
            "max_output": spec.max_output,
            "prefix": spec.prefix,
        }
        task = GeneratorTask(model)
        with record.timed("training"):
            result = learn(
                task,
                material.data,
                spec.training,
                out,
                validate=material.validation,
                resume=resume,
                digest=identity(spec, collection),
            )
        save_writer(model, tokenizer, out / MODEL)
        record.data["training"] = asdict(result)
        record.data["validation"] = validations(out / "metrics.jsonl", result.best_step)
        if result.best_step == 0:
            record.warn(NONE_BETTER)
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
