"""From a student to exported folders: its graph once, then each precision of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError, MissingExtra
from ..progress import say
from .precision import Precision, with_precision
from .samples import TEXTS
from .source import Source, open_sources
from .static_graph import static_graph
from .writing import Checked, refuse_other, write_onnx


class Exported(NamedTuple):
    """One folder that was written.

    Attributes:
        target: `onnx` or `static`.
        precision: of the weights.
        folder: where it is; a document tower of its own lies beside it as `<folder>-documents`.
        file: the file of the weights.
        bytes: its size.
        checked: how far it is from the original.
    """

    target: str
    precision: Precision
    folder: Path
    file: Path
    bytes: int
    checked: Checked


def export_onnx(
    student: str | Path,
    outs: Sequence[tuple[Precision, Path]],
    *,
    dimensions: int | None = None,
    texts: Sequence[str] = TEXTS,
) -> Iterator[Exported]:
    """Write a student as one ONNX graph, once for every precision.

    Args:
        student: a student's folder, or a model's id.
        outs: precision and folder of each export.
        dimensions: cut vectors there, and give them unit length again where the student does.
        texts: what is compared with the original.

    Raises:
        InputError: the student cannot be exported.
        MissingExtra: onnx, onnxscript or onnxruntime is not installed.
        PotstillError: an export says something else than the original.
    """
    _require()
    for _, out in outs:
        refuse_other(out)
    queries, documents = open_sources(student)
    width = checked_width(queries, dimensions)
    graphs = {role: _graph(source, width) for role, source in (("", queries), ("-documents", documents)) if source}
    for precision, out in outs:
        for suffix, source in (("-documents", documents), ("", queries)):
            if source is None:
                continue
            graph = graphs[suffix]
            model = _static(source, width, precision) if source.static else with_precision(graph, precision)
            folder = out.with_name(out.name + suffix)
            found = write_onnx(source, model, folder, precision=precision, dimensions=width, texts=texts)
            file = folder / "model.onnx"
            say(f"{folder}: {file.stat().st_size / 1e6:,.1f} MB; {found}")
        yield Exported("onnx", precision, out, file, file.stat().st_size, found)


def checked_width(source: Source, dimensions: int | None) -> int:
    """The width of the exported vectors.

    Raises:
        InputError: it is not below the student's, or the student gives scores.
    """
    if dimensions is None:
        return source.width
    if source.pairs:
        raise InputError("a ranker gives scores, which have no dimensions", where="--dimensions", fix="leave it out")
    if not 1 <= dimensions <= source.width:
        raise InputError(
            f"the student's vectors have {source.width} dimensions",
            where=f"--dimensions {dimensions}",
            fix=f"give a number from 1 to {source.width}",
        )
    return dimensions


def _require() -> None:
    for name in ("onnx", "onnxruntime"):
        try:
            __import__(name)
        except ImportError:
            raise MissingExtra(name, "onnx") from None


def _static(source: Source, width: int, precision: Precision) -> Any:
    static = source.static
    assert static is not None
    table, head = static.table, static.head
    if head is None:
        table = table[:, :width]
    else:
        head = head[:, :width]
    return static_graph(table, head, normalize=static.normalize, precision=precision)


def _graph(source: Source, width: int) -> Any:
    """The traced graph in single precision; None where it needs no tracing."""
    if source.static is not None:
        return None
    from .graphs import EncoderGraph, RankerGraph, traced

    types = "token_type_ids" in source.own.model_input_names
    if source.pairs:
        separator = source.own.sep_token_id if types and _two_segments(source.own) else None
        return traced(RankerGraph(source.modules[0], types=types, separator=separator), "score")
    graph = EncoderGraph(
        source.modules,
        types=types,
        prompt=_left_out(source),
        dimensions=None if width == source.width else width,
        normalize=source.normalize,
    )
    return traced(graph, "vector")


def _two_segments(tokenizer: Any) -> bool:
    return bool(max(tokenizer("a", "b").get("token_type_ids", [0])) > 0)


def _left_out(source: Source) -> int:
    """Ids of the prompt, where the pooling leaves them out.

    Raises:
        InputError: roles have prompts of different lengths, and one graph serves both.
    """
    from ..students.anatomy import surroundings

    if all(getattr(module, "include_prompt", True) for module in source.modules):
        return 0
    prompts = [source.prompts[role] for role in source.roles]
    lengths = {len(surroundings(source.own, prompt)[0]) if prompt else 0 for prompt in prompts}
    if len(lengths) > 1:
        raise InputError(
            "the pooling leaves prompts out, and those of queries and documents differ in length",
            where=source.name,
            fix="let the pooling include the prompt, or export a student with two towers",
        )
    return lengths.pop()
