"""What `potstill ensemble` does: several teachers, what they come to together, and a student, on the same lists."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from .base import Strict
from .teachers import SCORERS, ScorerSpec, TeacherSpec

KINDS = ("vectors", *SCORERS)
_NAMELESS = ("model", "student")  # folders that Potstill writes into one that has a name


class MemberSpec(Strict):
    """A system that ranks candidates: a teacher of vectors or one of scores.

    Short forms: `bm25`, a file of scores, a model's folder (its kind is found out), `KIND:WHAT` with one of the kinds
    (`vectors`, `cross-encoder`, ...), each with `NAME=` before it where reports should call it otherwise.
    """

    name: str
    kind: str
    vectors: TeacherSpec | None = None
    scorer: ScorerSpec | None = None


class EnsembleSpec(Strict):
    """Teachers, their ensembles and a student on the same candidates with judgments.

    `candidates`: `judged` (the documents that were judged for the query), `pooled` (those that some file of scores
    names), `bm25`, the name of a teacher of vectors, or the path of a ranking; `auto`: `pooled` where a teacher is a
    file, else the first teacher of vectors, else `bm25`. `depth` are kept of a ranking.

    `qrels` are other judgments than the collection's. `answered` leaves out queries without a relevant document, as is
    usual for answer sentences. `holes` says what a file's missing score means: nothing (`masked`), or `floor`, that the
    document came below the last that the file has. `reference` names what all others are compared with.
    """

    PAGE: ClassVar[str] = "govern.md"

    collection: str
    split: str = "test"
    teachers: Annotated[tuple[MemberSpec, ...], Field(min_length=1)]
    student: MemberSpec | None = None
    candidates: str = "auto"
    depth: int = Field(default=100, ge=2)
    measures: Annotated[tuple[str, ...], BeforeValidator(lambda given: given or ())] = ("nDCG@10", "RR@10", "AP")
    qrels: Path | None = None
    answered: bool = False
    holes: Literal["masked", "floor"] = "masked"
    reference: str = "mean"
    cost: bool = True
    timed_lists: int = Field(default=50, ge=3)
    seed: int = 0

    @model_validator(mode="after")
    def _names_differ(self) -> EnsembleSpec:
        names = [member.name for member in (*self.teachers, *((self.student,) if self.student else ()))]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two systems are called {twice}: give one another name, NAME={twice}")
        taken = next((name for name in names if name in ("mean", "median", "vote", "first stage")), None)
        if taken is not None:
            raise ValueError(f"{taken} is the name of an ensemble: give the teacher another, NAME={taken}")
        return self


def short_member(value: Any, kind_of: Any) -> Any:
    """`NAME=KIND:WHAT` as a member.

    Args:
        value: the text; anything else is given back.
        kind_of: tells the kind of a model's folder or id; raises InputError where nobody can.
    """
    if not isinstance(value, str):
        return value
    name, equals, rest = value.partition("=")
    if not equals or "/" in name or ":" in name:
        name, rest = "", value
    kind, colon, what = rest.partition(":")
    if not colon or kind not in KINDS:
        what = rest
        kind = "bm25" if rest == "bm25" else "file" if Path(rest).is_file() else str(kind_of(rest))
    name = name or _name(kind, what)
    if kind == "vectors":
        return {"name": name, "kind": kind, "vectors": {"model": what, "name": name}}
    if kind == "bm25":
        language = {"language": what} if what not in ("", "bm25") else {}
        return {"name": name, "kind": kind, "scorer": {"kind": kind, "name": name, **language}}
    source = {"path": what} if kind == "file" else {"model": what}
    return {"name": name, "kind": kind, "scorer": {"kind": kind, "name": name, **source}}


def _name(kind: str, what: str) -> str:
    if kind == "bm25":
        return "bm25"
    path = Path(what)
    if kind == "file":
        return path.name.removesuffix(".gz").removesuffix(".tsv").removesuffix(".txt").removesuffix(".run")
    return path.parent.name if path.name in _NAMELESS and path.parent.name else path.name
