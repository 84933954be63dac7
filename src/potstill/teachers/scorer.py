"""What every teacher of scores can do: it reads a query and a document together, or compares them in a way of its own.

A scorer fills tables of the signal store as a teacher of vectors does; the texts are pairs (`signals.pair_text`), and a
row is one number (`scores`) or two vectors end to end (`pair_vectors`: the query's side, then the document's).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from ..errors import InputError
from ..signals import VectorSource

PairSignal = Literal["scores", "pair_vectors"]


class PairSource(VectorSource[Literal["pair"]], Protocol):
    """What fills a table of pairs: each text is a `pair_text`."""

    def truncated(self, texts: Sequence[str], role: Literal["pair"]) -> int:
        """How many of the pairs are cut at the maximum length, on either side."""


class AboutScorer(Protocol):
    """What is known of any teacher of scores.

    Attributes:
        name: what objectives and reports call it.
        kind: as a recipe says it.
        signals: what it can say of a pair.
        dimensions: width d of each of a pair's two vectors; None where it has none.
        parameters: stored numbers; None where it cannot be known.
        bytes: their size in memory; None where it cannot be known.
    """

    name: str
    kind: str
    signals: frozenset[PairSignal]
    dimensions: int | None
    parameters: int | None
    bytes: int | None


class Scorer(AboutScorer, Protocol):
    """A teacher of scores that reads pairs of texts; `open_scorer` makes one."""

    def source(self, signal: PairSignal = "scores") -> PairSource:
        """What fills a table of pairs (role `pair`): width 1 for `scores`, 2d for `pair_vectors`.

        Raises:
            InputError: this scorer does not give the signal.
        """


def no_such_signal(scorer: Scorer, signal: PairSignal) -> InputError:
    """Say that a scorer does not give a signal."""
    return InputError(
        f"a {scorer.kind} scorer gives {' and '.join(sorted(scorer.signals))}, not {signal}",
        where=scorer.name,
        fix="use a scorer of kind dual-pooled" if signal == "pair_vectors" else "use another scorer",
    )
