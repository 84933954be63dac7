"""`potstill teach ...`: teachers trained on a collection's own judgments."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import InputError

if TYPE_CHECKING:
    from .api import Taught

teach_app = typer.Typer(help="Train a teacher on judged pairs.", no_args_is_help=True)

Collection = Annotated[
    str | None, typer.Option("--collection", help="Folder, file, hf:NAME or ir_datasets:NAME.", show_default=False)
]
Base = Annotated[str | None, typer.Option("--base", help="An encoder: id or folder.", show_default=False)]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the run; OUT/model is the teacher.")]
Split = Annotated[str | None, typer.Option("--split", help="Judged split to learn from; default: train.")]
Negatives = Annotated[int | None, typer.Option("--negatives", help="Negatives of a list; default: 7.")]
Depth = Annotated[int | None, typer.Option("--depth", help="Mined documents of a query; default: 100.")]
Miner = Annotated[
    list[str] | None,
    typer.Option("--miner", help="A model of vectors, or bm25; repeatable. Default: the base, else bm25."),
]
MaxLength = Annotated[
    int | None, typer.Option("--max-length", help="Tokens of a pair, or of a document; default: 128.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Any other key, e.g. training.epochs=2 or positives=1."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
Signals = Annotated[
    Path | None,
    typer.Option("--signals", help="Folder of the signal store; default: POTSTILL_HOME or the user's cache."),
]


RANKERS = {
    "cross-encoder": "Train a cross-encoder; OUT/model loads as sentence_transformers.CrossEncoder.",
    "dual-pooled": "Train a cross-encoder that gives a vector for each side of a pair.",
    "dual-encoder": "Train a model of one vector a text; OUT/model loads as sentence_transformers.SentenceTransformer.",
    "late-interaction": "Train a model of one vector a token (ColBERT); OUT/model loads as MultiVectorEncoder.",
}


def _ranker(kind: str, what: str) -> None:
    """Add the command that teaches one kind of teacher."""

    @teach_app.command(kind, help=what)
    def command(
        collection: Collection = None,
        base: Base = None,
        out: Out = None,
        split: Split = None,
        negatives: Negatives = None,
        depth: Depth = None,
        miner: Miner = None,
        max_length: MaxLength = None,
        settings: Settings = None,
        resume: Resume = False,
        signals: Signals = None,
    ) -> None:
        given = {"negatives": negatives, "depth": depth, "miner": miner, "max_length": max_length, "signals": signals}
        taught, folder = _taught(kind, collection, base, out, split, settings, resume, given)
        _tell(summary(taught.record), "teacher", taught, folder)


for _kind, _what in RANKERS.items():
    _ranker(_kind, _what)


@teach_app.command("generator")
def generator(
    collection: Collection = None,
    base: Annotated[
        str | None, typer.Option("--base", help="A sequence-to-sequence model, or an encoder: id or folder.")
    ] = None,
    out: Out = None,
    split: Split = None,
    settings: Settings = None,
    resume: Resume = False,
) -> None:
    """Train a model that writes queries for documents; OUT/model is a recipe's queries.generator.model."""
    taught, folder = _taught("generator", collection, base, out, split, settings, resume, {})
    _tell(generator_summary(taught.record), "generator", taught, folder)


def _taught(
    kind: str,
    collection: str | None,
    base: str | None,
    out: Path | None,
    split: str | None,
    settings: list[str] | None,
    resume: bool,
    more: dict[str, Any],
) -> tuple[Taught, Path]:
    if out is None:
        raise InputError("there is no output folder", where="--out", fix="add --out DIR")
    from .api import teach

    return teach(kind, collection, base, out=out, split=split, settings=settings or (), resume=resume, **more), out


def _tell(lines: list[str], what: str, taught: Taught, out: Path) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.write(f"\n{what}: {taught.model}/  ({out}/teach.json, metrics.jsonl, teach.yaml)\n")


def summary(record: dict[str, Any]) -> list[str]:
    """What was learned, for people."""
    lists, validation, training = record["lists"], record["validation"], record["training"]
    told = [
        f"{record['kind']} from {record['base']['model']}, {record['model']['parameters']:,} stored numbers",
        f"learned from {lists['pairs']:,} judged pairs of {lists['queries']:,} queries: "
        f"{lists['lists']:,} lists an epoch, {lists['negatives_mined']:,} negatives mined "
        f"({', '.join(record['miners'])})",
        f"cut: {lists['documents_cut']:,} documents and {lists['queries_cut']:,} queries in "
        f"{lists['epoch_pairs']:,} pairs",
        f"{training['steps']:,} updates, {training['texts']:,} lists, {training['seconds']:,.0f} s",
        f"re-ranking {validation['rerank']} documents of {validation['queries']:,} held-out queries:",
    ]
    for name in validation["after"]:
        found, before, after, best = (validation[key][name] for key in ("found", "before", "after", "best_possible"))
        told.append(
            f"  {name:<8} as found {found:.4f}, untrained {before:.4f}, trained {after:.4f} (best possible {best:.4f})"
        )
    return told


def generator_summary(record: dict[str, Any]) -> list[str]:
    """What was learned by a generator, for people."""
    pairs, validation, training, model = (record[key] for key in ("pairs", "validation", "training", "model"))
    before, after = validation["before"], validation["after"]
    told = [
        f"{model['architecture']} from {record['base']['model']}, {model['parameters']:,} stored numbers",
        f"learned from {pairs['pairs']:,} judged pairs of {record['queries']['train']:,} queries, "
        f"{pairs['epoch_pairs']:,} an epoch",
        f"{training['steps']:,} updates, {training['texts']:,} pairs, {training['seconds']:,.0f} s",
        f"a token of {record['queries']['held_out']:,} held-out queries costs {before['loss']:.3f} nats untrained, "
        f"{after['loss']:.3f} trained (perplexity {after['perplexity']:,.1f})",
    ]
    return told + [f"  asked: {shown['asked']}\n  wrote: {shown['written']}" for shown in record["examples"]]
