"""What a ranker learns from: lists, what every teacher says of them, and what chooses its weights."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..collection import Collection
from ..errors import InputError
from ..queries import TrainingQueries
from ..recipe import VECTORS, ObjectiveSpec, Recipe, StudentSpec
from ..recipe.learning import OF_SEVERAL
from ..students.counting import Texts, chunks
from ..students.saving import read_note
from ..teachers import VectorTeacher
from ..teachers.load_report import without_bars
from ..teachers.sentence_encoder import positions
from .scorers import HeldOutLists

if TYPE_CHECKING:
    from ..teaching.distilling import RankingSet
    from ..teaching.rankers import CrossEncoderModel
    from ..teaching.validation import Validation

LENGTH = 128  # tokens of a pair, where a recipe says nothing
_TEXTS_AT_ONCE = 4_096
_TEMPERATURE = 1.0  # of a ranker's softmax: its logits have no length of their own to keep to


@dataclass(frozen=True)
class Ranking:
    """What a ranker learns from.

    Attributes:
        queries: training queries, then those held out to validate by.
        trained: how many of them are trained on.
        lists: `(n, c)` document rows.
        scores: teacher -> `(n, c)`, all of them.
        objectives: at their teachers' temperatures.
    """

    queries: TrainingQueries
    trained: int
    lists: np.ndarray
    scores: dict[str, np.ndarray]
    objectives: tuple[ObjectiveSpec, ...]


def check_ranker(recipe: Recipe) -> None:
    """See what a ranker cannot do.

    Raises:
        InputError: names the key.
    """
    for key, wrong, why in (
        ("index", recipe.index is not None, "a ranker has no vectors to search"),
        ("joint", recipe.joint is not None, "teachers of a ranker are heard beforehand"),
        ("augment", recipe.augment.wanted, "made inputs are vectors, and a ranker reads texts"),
        ("output.packed", recipe.output.packed, "a ranker has no document side"),
        ("training.encode_at_once", recipe.training.encode_at_once is not None, "a ranker's batch is one pass"),
    ):
        if wrong:
            raise InputError(why, where=key, fix="leave it out")
    if not recipe.objectives:
        raise InputError(
            "a ranker has nothing to learn",
            where="objectives",
            fix="name what it listens to, for example scores:kl of a scorer, or a vote of several",
        )
    if recipe.training.select == "dev":
        raise InputError(
            "a ranker is chosen by its agreement with its teachers, or not at all, and not by dev judgments",
            where="training.select",
            fix="use held_out or last",
        )
    for number, spec in enumerate(recipe.objectives):
        if spec.family not in ("scores", "contrastive", *OF_SEVERAL):
            raise InputError(
                f"a ranker gives scores, so it cannot learn {spec.family}",
                where=f"objectives.{number}",
                fix="use scores:kl, vote, ensemble or contrastive",
            )
        if spec.documents not in ("auto", "mined"):
            raise InputError(
                "a ranker reads each query with its own candidates",
                where=f"objectives.{number}.documents",
                fix="use documents: mined",
            )
        if spec.prefixes:
            raise InputError("a ranker has no vectors", where=f"objectives.{number}.prefixes", fix="leave it out")


def for_ranker(spec: ObjectiveSpec) -> ObjectiveSpec:
    """The objective on mined lists, the student's temperature 1 where none is given."""
    from ..training.terms import reads

    more: dict[str, Any] = {"documents": "mined"}
    if spec.student_temperature is None and reads(spec, "student_temperature"):
        more["student_temperature"] = _TEMPERATURE
    return spec.model_copy(update=more)


def untrained_ranker(
    spec: StudentSpec, teacher: VectorTeacher, texts: Texts, seed: int
) -> tuple[CrossEncoderModel, str]:
    """The untrained student, and what it is made from: the teacher's layers, a new small body, or a model.

    Args:
        spec: what kind, how large.
        teacher: the teacher of vectors, whose embeddings or layers it starts from.
        texts: representative texts, for the vocabulary.
        seed: of all that starts at random.

    Raises:
        InputError: the student does not fit the teacher, or the model will not do.
    """
    from ..students import build_tower
    from ..teaching.rankers import CrossEncoderModel

    if spec.kind == "model":
        known = (read_note(Path(str(spec.model))) or {}).get("max_length")
        length = spec.max_length or known or LENGTH
        return CrossEncoderModel.from_base(str(spec.model), max_length=length, seed=seed), "model"
    tower = build_tower(spec, teacher, texts, seed)
    with tempfile.TemporaryDirectory() as folder:
        first: Any = cast(Any, tower).model[0]
        length = spec.max_length or min(LENGTH, positions(first.auto_model) or LENGTH)
        with without_bars():
            first.auto_model.save_pretrained(folder)
        first.tokenizer.save_pretrained(folder)
        return CrossEncoderModel.from_base(folder, max_length=length, seed=seed), spec.kind


def ranking_set(collection: Collection, ranking: Ranking, ranker: CrossEncoderModel) -> RankingSet:
    """Texts as tokens, lists as rows of them; the held-out lists are no part of what is trained on."""
    from ..teaching.distilling import RankingSet
    from ..teaching.material import packed

    rows = np.unique(ranking.lists[ranking.lists >= 0])
    lists = np.where(ranking.lists < 0, -1, np.searchsorted(rows, ranking.lists))
    read = ranker.pairs.ids
    documents = packed(
        [ids for block in chunks(collection.texts(rows.tolist()), _TEXTS_AT_ONCE) for ids in read(block)]
    )
    known = [
        len(positives) > 0 and bool(line[0] in positives)
        for positives, line in zip(ranking.queries.positives, ranking.lists, strict=True)
    ]
    data = RankingSet(
        packed(read(ranking.queries.texts)),
        documents,
        ranker.pairs,
        lists,
        ranking.scores,
        np.where(known, 0, -1),
    )
    data.keep(ranking.trained)
    if not len(data):
        raise InputError(
            "no training query has two candidates",
            where="candidates",
            fix="name other candidates.sources, or more queries",
        )
    return data


def agreement(ranking: Ranking, data: RankingSet) -> Validation:
    """Validation by the mean rank correlation with the teachers that are learned from, on held-out lists."""
    from ..teaching.validation import Validation

    names = sorted({name for spec in ranking.objectives for name in heard_by(spec)})
    scores = {name: ranking.scores[name][ranking.trained :] for name in names}
    said = HeldOutLists(ranking.lists[ranking.trained :], scores)

    class Agreement(Validation):
        def __call__(self, task: Any) -> dict[str, float]:
            student = self.logits(task.model)
            value = said.agreement(np.where(np.isfinite(student), student, np.nan))
            return {"agreement with scorers": value, "score": value}

    held = np.arange(ranking.trained, len(ranking.lists))
    ids = [f"held out {number}" for number in range(len(held))]
    return Agreement(ids, data.queries.select(held), data.documents, data.pairs, data.lists[held], [], {})


def heard_by(spec: ObjectiveSpec) -> tuple[str, ...]:
    """Names of the teachers that an objective listens to."""
    if spec.family == "contrastive":
        return ()
    return spec.teachers or (spec.teacher or VECTORS,)
