"""One distillation, in a folder that is held for it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..candidates import list_scores, told
from ..collection import Collection, open_collection
from ..evaluation import exact_search
from ..progress import say
from ..queries import GENERATED, TrainingQueries
from ..recipe import VECTORS, IndexSpec
from ..teachers import VectorTeacher, open_teacher
from ..teachers.compressed import HEAD, CompressedTeacher, write_head
from .checks import check_recipe, check_task, check_teacher, doubtful_index
from .compressing import INDEX, compressed, write_index
from .list_scorers import whole_scores
from .lists import FOLDER, positives_of, training_lists
from .live import TEACHER, with_layers, with_trained
from .material import Material
from .naming import absolute, without_key
from .objectives import settled
from .panel_report import pairs_of
from .preparation import build_task, judged_split
from .query_filters import filtered, needs_student, query_coverage, student_scores
from .run import Run, outcome
from .scorers import Panel, hear, hear_held_out, open_panel
from .vectors import Vectors, document_vectors, query_vectors, through

if TYPE_CHECKING:
    from ..students import Tokens, Tower
    from ..training.task import Task

_VALIDATED = 100  # held-out queries whose lists the scorers read, where a student of theirs is chosen by them
STUDENT, STUDENT_DOCUMENTS, PACKED = "student", "student-documents", "student-packed"


class Distillation(Run):
    """Of a student that encodes texts."""

    def go(self) -> dict[str, Any]:
        """Distil, evaluate, and write the run folder; gives what `evaluation.json` holds."""
        recipe, record = self.recipe, self.record
        check_recipe(recipe)
        self.tell("stages", self.before)
        collection = open_collection(recipe.collection)
        self.split = judged_split(collection, recipe)
        for line in collection.notes.lines():
            say(f"collection: {line}")
        teacher = open_teacher(recipe.teacher)
        say(f"teacher: {teacher.name}, {teacher.dimensions} dimensions")
        check_teacher(recipe, collection, teacher, self.split)
        panel = open_panel(recipe.scorers, collection)
        if doubt := doubtful_index(teacher, collection):
            self.warn_of([doubt])
        whole = index = None
        if recipe.index is not None:
            with record.timed("teacher"):
                whole = document_vectors(teacher, collection, self.signals)
            teacher = small = self.smaller(recipe.index, teacher, whole)
            index = through(small, whole)
        with record.timed("queries"):
            queries = self.queries(collection)
        with record.timed("student"):
            task = build_task(recipe, collection, teacher, queries, panel)
        check_task(task, collection, teacher, queries, recipe.candidates.count)
        from .fitting import document_tokens, fit

        with record.timed("student"):
            tokens = document_tokens(task, collection)
        with record.timed("teacher"):
            documents = document_vectors(teacher, collection, self.signals) if index is None else index
            targets = query_vectors(teacher, queries.texts, self.signals, "teacher: training queries")
            queries, targets = self.filtered(task, queries, documents, targets, tokens)
            material = Material(
                collection,
                queries,
                documents=documents,
                targets=targets,
                held_out=query_vectors(teacher, queries.held_out, self.signals, "teacher: held-out queries"),
                teacher=" ".join(teacher.fingerprint(role).digest() for role in ("query", "document")),
                document_tokens=tokens,
            )
            material = replace(material, whole=whole_scores(recipe, panel.scorers, queries.texts, len(documents)))
            if material.whole and not material.scorers:
                material = replace(material, scorers=panel.identity())
            material = self.with_lists(material, teacher, panel, task)
            material = with_layers(material, task, teacher, self.signals)
        self.note(teacher, material)
        with record.timed("training"):
            fitted = fit(recipe, task, material, self.run, self.resume)
        record.data["training"] = fitted.summary
        if fitted.temperatures:
            record.data["relations"] = fitted.temperatures
        for topic, said in fitted.said.items():
            if said:
                record.data["told"].setdefault(topic, []).extend(said)
        for topic, said in fitted.told.items():
            self.tell(topic, said)
        if material.candidates is not None:
            material.candidates.save(self.run / FOLDER)
        self.warn_of(fitted.warnings)
        self.save(task, teacher, collection)
        if index is not None and recipe.towers == "asymmetric":
            write_index(self.run, index, collection)
        record.data["student"] |= self.describe(task.query_tower)
        with record.timed("evaluation"):
            evaluation = self.evaluate(teacher, material, panel, whole)
        record.write()
        self.report()
        return evaluation

    def smaller(self, spec: IndexSpec, teacher: VectorTeacher, documents: Vectors) -> CompressedTeacher:
        """The teacher as its smaller index has it."""
        with self.record.timed("index"):
            seed = self.recipe.training.seed
            small, told = compressed(spec, teacher, documents, self.run, seed=seed, resume=self.resume)
        self.tell("index", told)
        return small

    def filtered(
        self, task: Task, queries: TrainingQueries, documents: Vectors, targets: Vectors, tokens: Tokens | None
    ) -> tuple[TrainingQueries, Vectors]:
        """The training queries that the filters leave, and the teacher's vectors of them."""
        spec = self.recipe.queries
        student = student_scores(task, queries, documents, tokens) if needs_student(spec) else None
        left, targets = filtered(queries, spec, documents, targets, task.metric, student=student)
        if left is not queries:
            say(f"queries: {len(left.texts):,} for training after the filters")
        return left, targets

    def with_lists(self, material: Material, teacher: VectorTeacher, panel: Panel, task: Task) -> Material:
        """The material with each query's own candidates, and what the scorers say of them."""
        recipe, queries, documents = self.recipe, material.queries, material.documents
        found = training_lists(
            recipe, material.collection, queries, documents, material.targets, teacher.metric, teacher.name
        )
        if found is None:
            return material
        candidates, lists = found
        self.tell("candidates", told(candidates))
        material = replace(material, candidates=candidates, lists=lists)
        if not panel.scorers:
            return material
        reference = list_scores(material.targets.all(), documents.gather, lists, teacher.metric)
        stored = [spec for spec in recipe.objectives if spec.teacher not in recipe.live]
        heard = hear(
            panel,
            stored,
            material.collection,
            queries.texts,
            lists,
            positives_of(queries),
            reference,
            unit=task.query_tower.normalize,
            signals=self.signals,
        )
        if recipe.training.select == "held_out":
            asked = material.held_out.gather(np.arange(min(_VALIDATED, len(queries.held_out))))
            nearest = exact_search(asked, documents, lists.shape[1], metric=teacher.metric).rows
            some = queries.held_out[: len(asked)]
            still = [spec for spec in recipe.objectives if recipe.joint is None or spec.teacher != recipe.joint.teacher]
            held = hear_held_out(panel, still, material.collection, some, nearest, self.signals)
            heard = replace(heard, held_out=held)
        self.record.data["scorers"] = heard.as_json()
        for report in heard.reports.values():
            self.tell("scorers", report.lines())
        if any(spec.teachers for spec in recipe.objectives) and heard.scores:
            pairs = pairs_of({VECTORS: reference, **heard.scores})
            self.record.data["panel"] = [pair.as_json() for pair in pairs]
            self.tell("teachers", [pair.line() for pair in pairs])
        return replace(material, heard=heard, scorers=panel.identity())

    def save(self, task: Task, teacher: VectorTeacher, collection: Collection) -> None:
        """Write the student, and what came of the teacher."""
        from ..students import save_packed

        note = {
            "teacher": json.loads(absolute(without_key(self.recipe.teacher)).model_dump_json(exclude_defaults=True)),
            "teacher_identity": teacher.fingerprint("query").digest(),
            "teacher_name": teacher.name,
            "collection": self.recipe.collection,
            "trained_on": sorted(self.trained_splits(collection) | set(self.seen)),
            "towers": self.recipe.towers,
            "metric": teacher.metric,
        }
        if self.recipe.towers == "asymmetric":
            if isinstance(teacher, CompressedTeacher):
                note["index_head"] = HEAD
            note["index"] = f"{teacher.name}, {teacher.dimensions} dimensions, {teacher.metric}"
        task.query_tower.save(self.run / STUDENT, note)
        if "index_head" in note and isinstance(teacher, CompressedTeacher):
            write_head(self.run / STUDENT / HEAD, teacher.weight)
        for ranker in task.ranked.rankers.values():
            if ranker.trained:
                ranker.save(self.run / TEACHER, {**note, "towers": "shared", "trained_with": "its student"})
        if self.recipe.towers == "separate":
            assert task.document_tower is not None
            task.document_tower.save(self.run / STUDENT_DOCUMENTS, note)
        if self.recipe.output.packed:
            documents = teacher.encoder("document") if self.recipe.towers == "asymmetric" else None
            own = self.run / (STUDENT_DOCUMENTS if self.recipe.towers == "separate" else STUDENT)
            save_packed(self.run / STUDENT, documents or own, self.run / PACKED)

    def evaluate(
        self, teacher: VectorTeacher, material: Material, panel: Panel, whole: Vectors | None
    ) -> dict[str, Any]:
        """Evaluate the student that was written; gives what `evaluation.json` holds."""
        from ..students import Student, load
        from ..students.loading import TeacherEncoder
        from .assess import Assessment

        panel = with_trained(self.recipe, panel, self.run)
        spec, collection, signals = self.recipe.evaluate, material.collection, self.signals
        if whole is None or not isinstance(teacher, CompressedTeacher):
            assessment = Assessment(spec, collection, teacher, material.documents, signals, panel)
        else:
            assessment = Assessment(spec, collection, teacher.base, whole, signals, panel, material.documents)
            held_out = query_vectors(teacher.base, material.queries.held_out, self.signals, "teacher: held-out queries")
            material = replace(material, held_out=held_out)
            alone = assessment.of(
                Student(TeacherEncoder(teacher, role="query"), None, {}),
                own_documents=False,
                split=self.split,
                held_out=(material.queries.held_out, held_out),
                file=self.run / f"{INDEX}.json",
                cost=False,
            )
            self.tell("index", [f"the whole teacher on the smaller index: {outcome(alone)}"])
        if self.recipe.joint is not None and self.recipe.joint.teacher == VECTORS:
            trained = assessment.of(
                load(self.run / TEACHER),
                own_documents=True,
                split=self.split,
                held_out=(material.queries.held_out, material.held_out),
                file=self.run / f"{TEACHER}.json",
            )
            self.tell("teacher trained too", [f"against what it was: {outcome(trained)}"])
        return assessment.of(
            load(self.run / STUDENT),
            own_documents=self.recipe.towers != "asymmetric",
            split=self.split,
            held_out=(material.queries.held_out, material.held_out),
            run=self.run,
        )

    def note(self, teacher: VectorTeacher, material: Material) -> None:
        """What `run.json` says of what was learned from."""
        collection, queries = material.collection, material.queries
        whole = teacher.base if isinstance(teacher, CompressedTeacher) else teacher
        documents, targets = material.documents, material.targets
        self.record.data |= {
            "collection": collection.about(),
            "teacher": {
                "name": teacher.name,
                "dimensions": whole.dimensions,
                "metric": teacher.metric,
                "fingerprint": json.loads(json.dumps(teacher.fingerprint("query").__dict__, default=str)),
                "documents_cut": documents.texts_cut,
                "queries_cut": targets.texts_cut,
            },
            "student": {},
            "towers": self.recipe.towers,
            "index_dimensions": teacher.dimensions,
            "objectives": [
                json.loads(spec.model_dump_json()) for spec in settled(self.recipe, collection.document_count)
            ],
            "queries": {
                "total": len(queries.texts),
                "held_out": len(queries.held_out),
                "sources": queries.counts,
                "excluded": queries.excluded,
                "truncated": targets.texts_cut or 0,
                "examples": queries.examples(),
                "judged": sum(len(rows) > 0 for rows in queries.positives),
                "judgments": self.recipe.queries.judgments,
            },
        }
        if GENERATED in queries.counts and (covered := query_coverage(queries, targets, material.held_out)):
            self.record.data["queries"]["coverage"] = covered.as_json()
            self.tell("coverage", covered.lines())
        for count, what in ((documents.texts_cut, "documents"), (targets.texts_cut, "training queries")):
            if count:
                say(f"teacher: {count:,} {what} are longer than its maximum length and are read up to it")

    def describe(self, tower: Tower) -> dict[str, Any]:
        """What `run.json` says of the student."""
        from ..students import read_note

        note = read_note(self.run / STUDENT) or {}
        kept = {key: note.get(key) for key in ("kind", "parameters", "bytes", "dimensions")}
        return kept | {"description": f"{tower.kind} query encoder, {note.get('parameters', 0):,} stored numbers"}
