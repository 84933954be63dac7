"""Augmentation as the recipe asks for it: what it needs, and from which objective it takes its form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..errors import InputError
from ..recipe import Recipe, Role
from ..teachers import VectorTeacher

if TYPE_CHECKING:
    from ..students import Tower
    from ..training.augmentation import Augmentation
    from ..training.terms import Term


def check_augment(recipe: Recipe, teacher: VectorTeacher) -> None:
    """See, before a student is built, that one with the teacher's tokens is asked for and that the teacher takes them.

    Raises:
        InputError: the teacher has no transformer here, or the student has entries of its own.
    """
    if not recipe.augment.wanted:
        return
    from ..training.live_teacher import LiveTeacher

    LiveTeacher(teacher, "query")
    own = [
        f"student.{key}"
        for key, wrong in (
            ("vocabulary", recipe.student.vocabulary == "corpus"),
            ("phrases", recipe.student.phrases > 0),
        )
        if wrong
    ]
    if own:
        raise InputError(
            f"`augment` needs a student that reads the teacher's tokens, and {own[0]} gives it entries of its own",
            where=own[0],
            fix="leave it out, or use `queries.mixed`, which mixes texts, and leave `augment` out",
        )


def augmentation(
    recipe: Recipe, teacher: VectorTeacher, towers: Mapping[Role, Tower], terms: Sequence[Term], seed: int
) -> Augmentation | None:
    """What the recipe's `augment` asks for; None for nothing.

    Args:
        recipe: the run.
        teacher: opened.
        towers: what encodes each role; without documents where they are the teacher's.
        terms: the first that matches vectors lends its form and its roles; without one, `match:l2` of queries.
        seed: of what is drawn.

    Raises:
        InputError: teacher and student cannot read the same made inputs.
    """
    if not recipe.augment.wanted:
        return None
    from ..objectives.embedding import EmbeddingMatch
    from ..training.augmentation import Augmentation
    from ..training.live_teacher import LiveTeacher
    from ..training.same_inputs import SameInputs
    from ..training.terms import MatchTerm

    # Forms that compare plain vectors with this teacher's: not a scorer's, nor those weighed by a matrix.
    plain = (t for t in terms if isinstance(t, MatchTerm) and t.teacher is None and t.objective.form != "covariance")
    first = next(plain, None)
    wanted = "query" if first is None else first.role
    sides = {
        role: SameInputs(tower, LiveTeacher(teacher, role), role, moves=recipe.augment.disagree > 0)
        for role, tower in towers.items()
        if wanted in (role, "both")
    }
    return Augmentation(recipe.augment, sides, EmbeddingMatch() if first is None else first.objective, seed=seed)
