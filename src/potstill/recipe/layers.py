"""What LEAD adds to a recipe: how blocks are paired and weighed, and a teacher that is trained beside its student."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Strict


class LayersSpec(Strict):
    """Which blocks of teacher and student a `layers` objective pairs, and where it reads them.

    `count` pairs are drawn; None: all of the student's blocks but one, as LEAD's published 5 of 6. `map: random` draws
    both sides anew every `redraw` updates and pairs them in order; `uniform`, `last` and `skip` are fixed. `place`: a
    block's vector of a text is that of its first token, as published, or the mean over tokens. `temperature` is that of
    the weights between pairs. After each epoch the term's weight is multiplied by `decay` (1: it stays), for layers
    that matter early only. A cross-encoder is read at its first token, a late-interaction teacher at every token.
    """

    count: int | None = Field(default=None, ge=1)
    map: Literal["random", "uniform", "last", "skip"] = "random"
    redraw: int = Field(default=10, ge=1)
    place: Literal["first", "mean"] = "first"
    temperature: float = Field(default=10.0, gt=0)
    decay: float = Field(default=1.0, gt=0, le=1)


class JointSpec(Strict):
    """A teacher that is trained with its student, as LEAD publishes it.

    `teacher` names a scorer, or is `teacher`, the one of vectors. It gets a contrastive term of its own
    (`contrastive`, its weight), and `scores:kl` terms that listen to it count in both directions. `detach` stops each
    such term's gradient to the side that is its target, so that neither layers nor scores pull the teacher towards the
    student; as published they do. `learning_rate` None: the student's.
    """

    teacher: str = "teacher"
    learning_rate: float | None = Field(default=None, gt=0)
    contrastive: float = Field(default=1.0, ge=0)
    detach: bool = False
