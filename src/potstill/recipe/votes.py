"""What GOVERN adds to a recipe: how several teachers vote."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Strict


class VoteSpec(Strict):
    """How the teachers of a `vote` objective decide.

    `soft: null` is the hard vote: the majority teaches, the minority is dropped for the sample. A number makes it soft:
    the temperature of the vote, beside its `sharpness` (0: the mean of the teachers). Of `margin` alone: a tie is
    taught by all (`keep_all`) or by nobody (`drop`), teachers within `dead_zone` of the student do not vote, and
    weights are shared among the teachers kept or among all (`normaliser`). `temperatures` are what each teacher's
    scores are divided by, in the order of `teachers`; empty: calibrated without labels, as a scorer says, and for the
    teacher of vectors so that the median list has `perplexity` effective candidates.

    `zscore` brings each teacher's scores of a query to mean 0 and deviation 1 first; one temperature then serves all,
    found for their sum. `offsets` are taken off each teacher's scores before that division; `vote` on single scores
    finds them itself. `weights` of the teachers are for `ensemble:logits`, whose scores are added up. `together` names
    groups of teachers that are alike, and have one vote between them: the mean of what they say. `cap` is the largest
    weight of a teacher in `ensemble:min-norm` (AE-KD).

    `labelled` is GOVERN-CA, for queries with a document that is known to fit: `confidence` weighs those whom the vote
    keeps by how well they agree with the label, `direction` keeps those on the label's side of the student and weighs
    them so. `matched` is a control, no method: the `mean` of the teachers at the length of the vote's step, or the
    `vote` at the length of the mean's.
    """

    soft: float | None = Field(default=None, gt=0)
    sharpness: float = Field(default=6.0, ge=0)
    tie: Literal["keep_all", "drop"] = "keep_all"
    dead_zone: float = Field(default=0.0, ge=0)
    normaliser: Literal["kept", "teachers"] = "kept"
    zscore: bool = False
    weights: tuple[float, ...] = ()
    temperatures: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()
    perplexity: float = Field(default=4.0, gt=1)
    together: tuple[tuple[str, ...], ...] = ()
    cap: float = Field(default=0.6, gt=0, le=1)
    labelled: Literal["confidence", "direction"] | None = None
    matched: Literal["mean", "vote"] | None = None
