"""From a recipe's teachers to teachers."""

from __future__ import annotations

from ..errors import InputError
from ..recipe import ScorerSpec, TeacherSpec
from .scorer import Scorer
from .teacher import VectorTeacher


def open_teacher(spec: TeacherSpec) -> VectorTeacher:
    """Open a teacher and check all that can be checked without the collection.

    Models are loaded and tried on one text, files of vectors are read through once, a service is asked for one vector.

    Raises:
        InputError: the model, file, service or option is wrong; names it and the remedy.
        MissingExtra: a package that this teacher needs is not installed.
    """
    for name, file in (("index_ids", spec.index), ("query_vector_ids", spec.query_vectors)):
        if getattr(spec, name) and not file:
            raise InputError(
                "ids without the vectors that they belong to",
                where=f"teacher.{name}",
                fix="give teacher.index or teacher.query_vectors too",
            )
    if spec.concatenated:
        from .concatenated import ConcatenatedTeacher

        return _named(ConcatenatedTeacher([open_teacher(each) for each in spec.concatenated], spec.weights), spec)
    model: VectorTeacher | None = None
    if spec.url:
        from .http_service import HttpTeacher

        model = HttpTeacher(spec)
    elif spec.model or spec.query_model:
        from .bi_encoder import BiEncoderTeacher

        model = BiEncoderTeacher(spec)
    if spec.index or spec.query_vectors:
        from .with_vectors import TeacherWithVectors

        return _named(TeacherWithVectors(spec, model), spec)
    assert model is not None  # TeacherSpec sees to it
    return _named(model, spec)


def open_scorer(spec: ScorerSpec) -> Scorer:
    """Open a teacher of scores, and try it on a few pairs.

    Raises:
        InputError: the model or an option is wrong; names it and the remedy.
        MissingExtra: a package that this scorer needs is not installed.
    """
    if spec.kind == "cross-encoder":
        from .cross_encoder import CrossEncoderScorer

        return CrossEncoderScorer(spec)
    if spec.kind == "late-interaction":
        from .late_interaction import LateInteractionScorer

        return LateInteractionScorer(spec)
    if spec.kind == "sparse":
        from .sparse import SparseScorer

        return SparseScorer(spec)
    from .dual_pooled_scorer import DualPooledScorer

    return DualPooledScorer(spec)


def _named(teacher: VectorTeacher, spec: TeacherSpec) -> VectorTeacher:
    if spec.name:
        teacher.name = spec.name
    return teacher
