r"""Objectives and terms as text: `parse_objective(str(o)) == o`, `parse_term(str(t)) == t`.

    term       = objective [ "*" weight ] [ "@" role ]
    objective  = family [ ":" form ] [ "(" name "=" value { "," name "=" value } ")" ] [ "[" prefixes [ ";raw" ] "]" ]

Options left out have their defaults; `match` alone is the family's first form.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any, cast

from .base import Objective, Role, Term
from .contrastive import Contrastive
from .contrasts import BankContrast, CrossMetric, NoiseContrast
from .embedding import EmbeddingMatch
from .ensembles import ListEnsemble
from .geometry import BatchGeometry
from .layers import LayerRankings
from .prefixes import AtPrefixes
from .relational import BankRelations, OwnRelations
from .scores import ScoreCorrelation, ScoreKL, ScoreRegression
from .voting import ListVote, MarginVote, PointVote

CLASSES: tuple[type[Objective], ...] = (
    EmbeddingMatch,
    ScoreKL,
    ScoreRegression,
    ScoreCorrelation,
    Contrastive,
    BankRelations,
    OwnRelations,
    BatchGeometry,
    BankContrast,
    NoiseContrast,
    CrossMetric,
    LayerRankings,
    PointVote,
    MarginVote,
    ListVote,
    ListEnsemble,
)

_OBJECTIVE = re.compile(
    r"(?P<family>[a-z0-9-]+)(?::(?P<form>[a-z0-9_-]+))?"
    r"(?:\((?P<options>[^()]*)\))?"
    r"(?:\[(?P<prefixes>\d+(?:,\d+)*)(?P<raw>;raw)?\])?"
)
_TERM = re.compile(r"(?P<objective>[^*@]+?)(?:\*(?P<weight>[^*@]+))?(?:@(?P<role>[^*@]+))?")


def parse_term(text: str) -> Term:
    """Read a term such as `scores:kl(student_temperature=0.1)*0.5@query`; ValueError names what cannot be read."""
    found = _TERM.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"cannot read the term {text!r}: write objective*weight@role, for example match:l2*1.0@query")
    weight, role = found["weight"], found["role"]
    try:
        number = float(weight) if weight else 1.0
    except ValueError:
        raise ValueError(f"the weight in {text!r} is not a number") from None
    return Term(parse_objective(found["objective"]), number, cast(Role, role.strip()) if role else "query")


def parse_objective(text: str) -> Objective:
    """Read an objective such as `match:cosine[64,128]`; ValueError names what cannot be read and what is allowed."""
    found = _OBJECTIVE.fullmatch(text.strip().replace(" ", ""))
    if found is None:
        raise ValueError(f"cannot read the objective {text!r}: write family:form(option=value)[prefixes]")
    known = _forms()
    family, form = found["family"], found["form"]
    if family not in known:
        raise ValueError(f"there is no family {family!r}; there are {', '.join(known)}")
    form = form or next(iter(known[family]))
    if form not in known[family]:
        raise ValueError(f"family {family} has forms {', '.join(known[family])}, not {form!r}")
    objective = _build(known[family][form], form, found["options"] or "", text)
    if found["prefixes"] is None:
        return objective
    return AtPrefixes(objective, tuple(int(p) for p in found["prefixes"].split(",")), unit=found["raw"] is None)


def _forms() -> dict[str, dict[str, type[Objective]]]:
    """Family -> form -> class; the forms of a class with a `form` field are those of its type."""
    forms: dict[str, dict[str, type[Objective]]] = {}
    for kind in CLASSES:
        names = kind.forms or (kind.form,)
        for name in names:
            forms.setdefault(cast(str, kind.family), {})[cast(str, name)] = kind
    return forms


def _build(kind: type[Objective], form: str, options: str, text: str) -> Objective:
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    given: dict[str, Any] = {"form": form} if "form" in fields else {}
    for option in filter(None, options.split(",")):
        name, equals, value = option.partition("=")
        if not equals or name not in fields or name == "form" or name in given:
            allowed = ", ".join(name for name in fields if name != "form") or "none"
            raise ValueError(f"cannot read the option {option!r} in {text!r}; the options here: {allowed}")
        given[name] = _value(value)
    try:
        return kind(**given)
    except TypeError as error:
        raise ValueError(f"cannot read {text!r}: {error}") from None


def _value(text: str) -> object:
    words: dict[str, object] = {"none": None, "true": True, "false": False}
    if text in words:
        return words[text]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
