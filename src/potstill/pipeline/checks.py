"""What is refused before the teacher works: a long job never dies at its end of what could be seen at its start."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from ..candidates import check_sources
from ..collection import Collection
from ..errors import InputError
from ..evaluation import parse_measures
from ..queries import TrainingQueries
from ..recipe import VECTORS, Recipe
from ..teachers import VectorTeacher
from .augmenting import check_augment
from .compressing import check_index
from .lists import positives_of, wanted

_COMPARED = 16  # documents
_ALIKE = 0.98  # float16 and the order of sums cost far less, another prompt more

if TYPE_CHECKING:
    from ..training.task import Task


def check_recipe(recipe: Recipe) -> None:
    """See what the recipe alone says: names of measures, objectives that need judgments.

    Raises:
        InputError: an unknown measure, or judgments that are needed and not named.
    """
    parse_measures(recipe.evaluate.measures)
    check_live(recipe)
    for number, spec in enumerate(recipe.objectives):
        if spec.needs_judgments and recipe.queries.judgments is None:
            raise InputError(
                "this objective needs queries with a document that they were judged to fit, and no judgments are read",
                where=f"objectives.{number}",
                fix="name a split to learn from, --set queries.judgments=train, or leave the objective out",
            )
    longest = 1 + recipe.candidates.count
    for number, scorer in enumerate(recipe.scorers):
        asked = scorer.name not in recipe.live
        lists = [spec for spec in recipe.objectives if spec.documents != "all"]
        listened = asked and any(spec.wants_temperature_of(str(scorer.name)) for spec in lists)
        counts = {spec.count for spec in recipe.objectives if spec.teacher == scorer.name and spec.family == "match"}
        if len(counts) > 1:
            raise InputError(
                f"terms match the vectors of {scorer.name} with several counts, and there is one target for each text",
                where="objectives",
                fix="give them one `count`",
            )
        if listened and scorer.temperature is None and scorer.perplexity >= longest:
            raise InputError(
                f"lists of at most {longest} documents cannot have {scorer.perplexity:g} effective candidates",
                where=f"scorers.{number}.perplexity",
                fix="lower it, raise candidates.count, or set the scorer's temperature",
            )


def check_live(recipe: Recipe) -> None:
    """See that what a recipe wants of teachers in the training process goes together.

    Raises:
        InputError: it does not.
    """
    if recipe.augment.wanted and (recipe.training.encode_at_once or recipe.live):
        key = "training.encode_at_once" if recipe.training.encode_at_once else "objectives"
        raise InputError(
            "made inputs (augment) have passes of their own, which are not encoded in parts or beside live teachers",
            where=key,
            fix="leave augment out, or this",
        )
    if recipe.training.encode_at_once and recipe.student.kind == "static":
        raise InputError(
            "a static student has no graph worth saving", where="training.encode_at_once", fix="leave it out"
        )
    for number, spec in enumerate(recipe.objectives):
        if spec.teacher in recipe.live and spec.family == "match":
            raise InputError(
                f"{spec.teacher} is in the training process, and its vectors of pairs are read beforehand",
                where=f"objectives.{number}",
                fix="name it twice among the scorers, or leave one of the objectives out",
            )
    if recipe.joint is None:
        return
    told = any(
        (spec.teacher or VECTORS) == recipe.joint.teacher and spec.family != "contrastive" for spec in recipe.objectives
    )
    if recipe.queries.judgments is None and recipe.joint.contrastive:
        raise InputError(
            "a teacher that is trained too learns from judgments, and none are read",
            where="joint",
            fix="name a split to learn from, --set queries.judgments=train, or set joint.contrastive to 0",
        )
    if not told:
        raise InputError(
            f"no objective listens to {recipe.joint.teacher}, which is trained too",
            where="joint.teacher",
            fix="add a scores:kl or layers objective of it",
        )


def check_teacher(recipe: Recipe, collection: Collection, teacher: VectorTeacher, split: str | None) -> None:
    """See that the teacher can say all that the run will ask.

    Args:
        recipe: the run.
        collection: what it is about.
        teacher: opened.
        split: the judged split, None where nothing is judged.

    Raises:
        InputError: documents or queries without a vector, training queries that nobody can encode, prefixes wider than
            the vectors, or a teacher that cannot be packed.
    """
    if not teacher.can_encode_queries:
        problem, fix = "the teacher is vectors on disk alone", "give teacher.model or teacher.url beside the vectors"
        if teacher.query_vectors is not None:
            problem = "the teacher's query vectors come from disk"
            fix = "leave teacher.query_vectors out, and give teacher.model or teacher.url"
        raise InputError(
            f"{problem}: it cannot encode the training queries, which are new texts",
            where=teacher.name,
            fix=fix,
        )
    check_reference(collection, teacher, split)
    check_index(recipe, teacher, collection.document_count)
    width = teacher.dimensions if recipe.index is None else recipe.index.width
    check_prefixes(recipe.evaluate.prefixes, width)
    check_augment(recipe, teacher)
    from ..teachers.layer_vectors import LayerVectors

    for number, spec in enumerate(recipe.objectives):
        if spec.family == "layers" and spec.teacher is None and VECTORS not in recipe.live:
            depth = LayerVectors(teacher, spec.layers.place).depth
            if spec.layers.count is not None and spec.layers.count > depth:
                raise InputError(
                    f"{spec.layers.count} pairs of layers are asked for, and {teacher.name} has {depth}",
                    where=f"objectives.{number}.layers.count",
                    fix=f"give at most {depth}, or leave it out",
                )
    if wanted(recipe):
        check_sources(recipe.candidates, collection.document_count)
    if recipe.output.packed and recipe.towers == "asymmetric" and teacher.encoder("document") is None:
        raise InputError(
            "the teacher is no sentence-transformers model, so it cannot be packed beside the student",
            where="output.packed",
            fix="leave output.packed out",
        )


def check_reference(collection: Collection, teacher: VectorTeacher, split: str | None) -> None:
    """See that the teacher has or makes the vectors that are searched.

    Raises:
        InputError: documents or judged queries without a vector, and no model to make them.
    """
    if teacher.index is not None:
        teacher.index.require(list(collection.document_ids))
    elif not teacher.can_encode_documents:
        raise InputError(
            "the teacher has no document vectors and no model to make them",
            where=teacher.name,
            fix="give teacher.index, teacher.model or teacher.url",
        )
    if split is None:
        return
    if teacher.query_vectors is not None:
        teacher.query_vectors.require([i for i in collection.qrels(split) if i in collection.queries], "queries")
    elif not teacher.can_encode_queries:
        raise InputError(
            "the teacher has no query vectors and no model to make them",
            where=teacher.name,
            fix="give teacher.query_vectors, teacher.model or teacher.url",
        )


def doubtful_index(teacher: VectorTeacher, collection: Collection) -> str | None:
    """Say so where the teacher's model does not seem to have made its index; None where it has, or nobody can tell."""
    from ..teachers.with_vectors import TeacherWithVectors

    if not isinstance(teacher, TeacherWithVectors) or teacher.index is None or teacher.model is None:
        return None
    if not teacher.model.can_encode_documents:
        return None
    texts = {document.id: document.full for document in islice(collection.documents(), _COMPARED) if document.full}
    if not texts:
        return None
    mean = float(teacher.index_agreement(texts).mean())
    if mean >= _ALIKE:
        return None
    return (
        f"{teacher.index.path}: its vectors and the model's own for the same {len(texts)} documents have a mean"
        f" cosine of {mean:.2f}; another model, prompt or maximum length seems to have made this index"
    )


def check_prefixes(prefixes: tuple[int, ...], dimensions: int) -> None:
    """See that vectors can be cut to these widths.

    Raises:
        InputError: one is below 1 or above the vectors' width.
    """
    wrong = [width for width in prefixes if not 1 <= width <= dimensions]
    if wrong:
        raise InputError(
            f"prefixes {wrong} do not fit vectors of {dimensions} numbers",
            where="evaluate.prefixes",
            fix=f"give widths from 1 to {dimensions}",
        )


def check_task(
    task: Task, collection: Collection, teacher: VectorTeacher, queries: TrainingQueries, candidates: int
) -> None:
    """See that objectives, towers and data fit, by widths and counts alone; `candidates` is the recipe's count.

    Raises:
        InputError: names the objective and what it lacks.
    """
    from ..students import Tokens
    from ..training.checks import check
    from ..training.data import TrainingSet
    from ..training.terms import VoteTerm

    def nothing(count: int) -> Tokens:
        return Tokens(np.empty(0, dtype=np.int32), np.zeros(count + 1, dtype=np.int64))

    count, documents = len(queries.texts), collection.document_count
    encoded = task.document_tower is not None
    check(
        task,
        TrainingSet(
            query_tokens=nothing(count),
            query_targets=_Shape(count, teacher.dimensions),
            documents=_Shape(documents, teacher.dimensions),
            document_tokens=nothing(documents) if encoded else None,
            sources=queries.documents,
            mined=np.zeros((count, 1 + candidates), dtype=np.int64),
            positives=positives_of(queries),
            pair_scores={
                name: np.zeros((count, 1 + candidates), np.float32)
                for term in task.score_terms
                if not term.live
                for name in (*(term.teachers if isinstance(term, VoteTerm) else ()), term.teacher)
                if name is not None and name != VECTORS
            },
            whole={
                name: _nothing
                for term in task.score_terms
                if isinstance(term, VoteTerm) and term.documents == "all"
                for name in term.teachers
            },
            trained_documents=np.arange(documents if task.document_terms else 0),
        ),
    )


def _nothing(queries: np.ndarray) -> np.ndarray:
    raise NotImplementedError("there are no scores yet")


class _Shape:
    """Stands for vectors that are not there yet."""

    def __init__(self, count: int, dimensions: int) -> None:
        self.count, self.dimensions = count, dimensions

    def __len__(self) -> int:
        return self.count

    def gather(self, rows: np.ndarray) -> np.ndarray:
        raise NotImplementedError("there are no vectors yet")
