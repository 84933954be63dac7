"""From a recipe's student and an open teacher to a tower that can be trained."""

from __future__ import annotations

from ..recipe import Role, StudentSpec
from ..teachers.teacher import VectorTeacher
from .anatomy import open_up
from .counting import Texts
from .tower import Tower


def build_tower(spec: StudentSpec, teacher: VectorTeacher, texts: Texts, seed: int, *, role: Role = "query") -> Tower:
    """Build an untrained tower that starts from what the teacher knows.

    Args:
        spec: what kind, how large.
        teacher: an open teacher; the tower's vectors are as wide as its vectors and of unit length if they are.
        texts: called for a fresh pass over representative texts (documents and training queries), for counts.
        seed: of whatever starts at random.
        role: whose texts the tower encodes; a tower for both takes the query's side of a teacher that has two.

    Raises:
        InputError: the student does not fit the teacher, with the key of the recipe to change.
    """
    anatomy = open_up(teacher, role)
    if spec.kind == "static":
        from .static_init import build_static

        return build_static(spec, anatomy, texts, seed)
    from .transformer import build_transformer

    return build_transformer(spec, anatomy, texts, seed)
