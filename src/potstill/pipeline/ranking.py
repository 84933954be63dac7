"""One distillation whose student is a ranker: it reads pairs, and learns scores of lists."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from ..atomic import write_json
from ..candidates import list_scores, told
from ..collection import Collection, open_collection
from ..errors import InputError
from ..evaluation import exclude_self
from ..evaluation.judging import judge
from ..progress import say
from ..queries import TrainingQueries
from ..recipe import VECTORS, ScorerSpec
from ..recipe.comparing import EnsembleSpec, MemberSpec
from ..students.saving import NOTE
from ..teachers import VectorTeacher, open_scorer, open_teacher
from .checks import check_recipe, check_teacher
from .ensemble import measured
from .judged import judgments_of
from .lists import FOLDER, positives_of, training_lists
from .logged import last_logged
from .members import Member, OfScores, OfVectors
from .naming import absolute, without_key
from .objectives import settled
from .panel_report import pairs_of
from .preparation import judged_split, representative
from .ranked_lists import Ranking, agreement, check_ranker, for_ranker, heard_by, ranking_set, untrained_ranker
from .run import Run
from .scorers import Panel, hear, open_panel
from .vectors import Vectors, document_vectors, query_vectors

if TYPE_CHECKING:
    from ..teaching.distilling import RankingSet
    from ..teaching.rankers import CrossEncoderModel
    from ..teaching.validation import Validation

_VALIDATED = 100  # held-out queries whose lists choose the weights
STUDENT = "student"


class RankerRun(Run):
    """See `Run`: collection, queries, lists, what teachers say of them, training, re-ranking of the judged split."""

    def go(self) -> dict[str, Any]:
        """Distil, evaluate, and write the run folder."""
        from ..teaching.distilling import RankingTask
        from ..training.loop import learn
        from ..training.terms import build_terms

        recipe, record = self.recipe, self.record
        check_recipe(recipe)
        check_ranker(recipe)
        self.tell("stages", self.before)
        collection = open_collection(recipe.collection)
        self.split = judged_split(collection, recipe)
        if self.split is None:
            raise InputError(
                "a ranker is measured on judged queries, and there are none",
                where=collection.source,
                fix="judge some: qrels/test.tsv",
            )
        for line in collection.notes.lines():
            say(f"collection: {line}")
        teacher = open_teacher(recipe.teacher)
        say(f"teacher: {teacher.name}, {teacher.dimensions} dimensions")
        check_teacher(recipe, collection, teacher, self.split)
        panel = open_panel(recipe.scorers, collection)
        comparison = self.comparison(teacher, panel)
        with record.timed("queries"):
            queries = self.queries(collection)
        with record.timed("student"):
            texts = representative(collection, queries)
            ranker, kind = untrained_ranker(recipe.student, teacher, texts, recipe.training.seed)
        with record.timed("teacher"):
            documents = document_vectors(teacher, collection, self.signals)
            ranking = self.ranking(collection, teacher, panel, queries, documents)
            data = ranking_set(collection, ranking, ranker)
        self.note_run(collection, teacher, ranking, data, kind)
        task = RankingTask(ranker, build_terms(ranking.objectives), "ranker")  # type: ignore[arg-type]
        validate = self.validation(collection, ranking, data, ranker)
        public = recipe.model_copy(update={"teacher": without_key(recipe.teacher)})
        before = {
            "recipe": public.model_dump_json(exclude={"training", "evaluate", "output"}),
            "collection": collection.fingerprint(),
            **panel.identity(),
        }
        with record.timed("training"):
            result = learn(
                task,
                data,
                recipe.training,
                self.run,
                validate=validate,
                resume=self.resume,
                digest=before,
            )
        record.data["training"] = asdict(result)
        for topic, said in last_logged(self.run).items():
            self.tell(topic, said)
        self.write_student(ranker, teacher, collection)
        with record.timed("evaluation"):
            found = self.ranked(collection, teacher, panel, documents, comparison)
        record.write()
        self.report()
        return found

    def ranking(
        self,
        collection: Collection,
        teacher: VectorTeacher,
        panel: Panel,
        queries: TrainingQueries,
        documents: Vectors,
    ) -> Ranking:
        """Lists of training and held-out queries, and every teacher's scores of them."""
        recipe = self.recipe
        held = min(_VALIDATED, len(queries.held_out)) if recipe.training.select == "held_out" else 0
        both = replace(
            queries,
            texts=[*queries.texts, *queries.held_out[:held]],
            sources=[*queries.sources, *["held out"] * held],
            documents=np.concatenate([queries.documents, np.full(held, -1, dtype=np.int64)]),
            positives=[*queries.positives, *[np.empty(0, dtype=np.int64)] * held],
        )
        targets = query_vectors(teacher, both.texts, self.signals, "teacher: training queries")
        given = training_lists(recipe, collection, both, documents, targets, teacher.metric, teacher.name)
        assert given is not None
        candidates, lists = given
        self.tell("candidates", told(candidates))
        candidates.save(self.run / FOLDER)
        reference = list_scores(targets.all(), documents.gather, lists, teacher.metric)
        objectives = tuple(for_ranker(spec) for spec in settled(recipe, collection.document_count))
        heard = hear(
            panel,
            objectives,
            collection,
            both.texts,
            lists,
            positives_of(both),
            reference,
            unit=False,
            signals=self.signals,
        )
        self.record.data["scorers"] = heard.as_json()
        for report in heard.reports.values():
            self.tell("scorers", report.lines())
        scores = {VECTORS: reference, **heard.scores}
        if heard.scores:
            pairs = pairs_of(scores)
            self.record.data["panel"] = [pair.as_json() for pair in pairs]
            self.tell("teachers", [pair.line() for pair in pairs])
        return Ranking(both, len(queries.texts), lists, scores, heard.settled(objectives))

    def validation(
        self, collection: Collection, ranking: Ranking, data: RankingSet, ranker: CrossEncoderModel
    ) -> Validation | None:
        """What chooses the weights: agreement with the teachers on held-out lists, dev judgments, or nothing."""
        if self.recipe.training.select == "held_out":
            return agreement(ranking, data)
        return None

    def note_run(
        self, collection: Collection, teacher: VectorTeacher, ranking: Ranking, data: RankingSet, kind: str
    ) -> None:
        """What `run.json` says of what was learned from."""
        queries = ranking.queries
        self.record.data |= {
            "collection": collection.about(),
            "teacher": {"name": teacher.name, "fingerprint": {}},
            "student": {"kind": f"ranker ({kind})", "description": f"cross-encoder student ({kind})"},
            "towers": "pairs",
            "objectives": [json.loads(spec.model_dump_json()) for spec in ranking.objectives],
            "queries": {
                "total": ranking.trained,
                "held_out": len(queries.held_out),
                "sources": queries.counts,
                "excluded": queries.excluded,
                "examples": queries.examples(),
                "judged": sum(len(rows) > 0 for rows in queries.positives),
                "judgments": self.recipe.queries.judgments,
                "lists": len(data),
                "pairs": int((data.lists[data.trained] >= 0).sum()),
            },
        }
        own = np.repeat(data.queries.lengths[:, None], data.lists.shape[1], axis=1)
        there = data.lists >= 0
        length = own[there] + data.documents.lengths[data.lists[there]]
        cut = int((length > data.pairs.lengths(own[there], data.documents.lengths[data.lists[there]])).sum())
        say(
            f"lists: {len(data):,} to learn from; {cut:,} of {int(there.sum()):,} pairs are cut at the student's length"
        )
        self.record.data["queries"]["truncated"] = 0
        self.record.data["pairs_cut"] = cut

    def write_student(self, ranker: CrossEncoderModel, teacher: VectorTeacher, collection: Collection) -> None:
        """The student's folder, with Potstill's note."""
        folder = self.run / STUDENT
        ranker.save(folder)
        count = sum(value.numel() for value in ranker.parameters())
        size = sum(path.stat().st_size for path in folder.iterdir())
        write_json(
            folder / NOTE,
            {
                "kind": "ranker",
                "reads": "pairs",
                "max_length": ranker.pairs.max_length,
                "teacher": json.loads(
                    absolute(without_key(self.recipe.teacher)).model_dump_json(exclude_defaults=True)
                ),
                "teacher_name": teacher.name,
                "collection": self.recipe.collection,
                "trained_on": sorted(self.trained_splits(collection) | set(self.seen)),
                "parameters": count,
                "bytes": size,
            },
        )
        self.record.data["student"] |= {"parameters": count, "bytes": size}

    def comparison(self, teacher: VectorTeacher, panel: Panel) -> EnsembleSpec:
        """What the student will be compared with, and how; told before work where the names of systems will not do.

        Raises:
            InputError: two systems of one name, or one named as an ensemble is.
        """
        assert self.split is not None
        recipe, spec = self.recipe, self.recipe.evaluate
        judged = "judged" in recipe.candidates.sources or spec.candidates == "judged"
        try:
            return EnsembleSpec(
                collection=recipe.collection,
                split=self.split,
                teachers=(
                    MemberSpec(name=teacher.name, kind=OfVectors.kind),
                    *(MemberSpec(name=name, kind=scorer.kind) for name, scorer in panel.scorers.items()),
                ),
                student=MemberSpec(name=STUDENT, kind="cross-encoder"),
                candidates="judged" if judged else teacher.name,
                depth=max(2, spec.rerank or spec.depth),
                measures=spec.measures,
                cost=spec.cost,
                seed=recipe.training.seed,
            )
        except ValidationError as error:
            said = error.errors()[0]["msg"].removeprefix("Value error, ").partition(":")[0]
            raise InputError(said, where="scorers", fix="give a scorer, or the teacher, another `name`") from None

    def ranked(
        self,
        collection: Collection,
        teacher: VectorTeacher,
        panel: Panel,
        documents: Vectors,
        comparison: EnsembleSpec,
    ) -> dict[str, Any]:
        """Teachers, what they come to and the student on the judged split; writes `evaluation.json` and its companions.

        The student is compared with the mean of the teachers that it learned from, or with the one.
        """
        from .assess import Assessment

        recipe, spec = self.recipe, self.recipe.evaluate
        assert self.split is not None
        vectors = OfVectors(teacher.name, teacher, collection)
        members: list[Member] = [vectors, *(OfScores(name, scorer) for name, scorer in panel.scorers.items())]
        names = {each for term in recipe.objectives for each in heard_by(term)}
        heard = [member.name for member in members if (VECTORS if member is vectors else member.name) in names]
        student = OfScores(
            STUDENT, open_scorer(ScorerSpec(kind="cross-encoder", name=STUDENT, model=str(self.run / STUDENT)))
        )
        grades = judgments_of(collection, self.split, answered=spec.answered)
        found, whole = measured(
            comparison, grades, members, student, self.signals, heard=heard or [member.name for member in members]
        )
        reference = whole["reference"]
        several = f"the mean of {len(heard)} teachers"
        self.record.data["teacher"]["name"] = several if reference == "mean" else reference
        pair = judge(
            grades,
            self.split,
            document_ids=collection.document_ids,
            searched=found.ranked,
            rankings={"teacher": found.rankings[reference], "student": found.rankings[STUDENT]},
            measures=spec.measures,
            depth=found.depth,
            hidden=exclude_self(grades, found.ranked, spec.exclude_self),
            notes=found.notes[:1],
            lack="list of candidates",
        )
        cost = whole["cost"]
        theirs = cost.get("all teachers")
        pair.cost = {
            name: {
                "parameters": parameters,
                "pair_ms": of["ms_per_pair"],
                "multiply_adds": of["multiply_adds_per_pair"],
            }
            for name, of, parameters in (
                ("teacher", theirs, _sum(m.parameters for m in members if m.name in heard)),
                ("student", cost.get(STUDENT), student.parameters),
            )
            if of
        }
        reranking = {
            "depth": whole["depth"],
            "reference": reference,
            "systems": whole["systems"],
            "intervals": whole["intervals"],
            "retention": {STUDENT: whole["student"]["retention"]},
            "notes": whole["notes"],
        }
        more = {"reranking": reranking, "ranking_cost": cost, "share_of_cost": whole["student"]["share_of_cost"]}
        return Assessment(spec, collection, teacher, documents, self.signals).write(pair, more, self.run, None)


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
