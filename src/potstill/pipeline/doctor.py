"""All that can be known before work starts: what is broken, what is doubtful, what it will cost."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from ..collection import Collection, open_collection
from ..errors import InputError
from ..progress import duration
from ..queries import TrainingQueries, open_generator
from ..recipe import Recipe, Role
from ..signals import SignalStore, default_root
from ..teachers import VectorTeacher, open_teacher
from ..teachers.compressed import CompressedTeacher
from ..texts import normalise
from .checks import check_recipe, check_task, check_teacher, doubtful_index
from .objectives import with_defaults
from .preparation import build_task, gather_queries, judged_split, never_trained, representative
from .ranked_lists import check_ranker, untrained_ranker
from .scorer_doctor import scorers_cost
from .scorers import Panel, open_panel

Level = Literal["ok", "warning", "problem"]

_LOOKED_UP = 256  # texts looked up in the store, to know what is left to encode
_PROBE = 32  # texts encoded to look at norms, spread and speed
_WRITTEN = 4  # texts that a generator writes queries for, to know its speed
_CUT_SHARE = 0.2  # share of texts cut at the maximum length from which it is worth a warning
_CROWDED = 0.8  # mean cosine between different texts from which rankings hang on small differences
_UNIT = 1e-2


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    topic: str
    message: str
    fix: str = ""

    def __str__(self) -> str:
        tail = f"\n{'':<9} {'':<11} what to do: {self.fix}" if self.fix else ""
        return f"{self.level:<9} {self.topic:<11} {self.message}{tail}"


def examine(recipe: Recipe, *, signals: Path | None = None) -> list[Finding]:
    """Look at everything a recipe needs, without training and without filling the store.

    What makes work impossible is a finding of level `problem`, as an error would be; later stages that hang on it are
    then not looked at.
    """
    findings: list[Finding] = []
    try:
        for some in _Doctor(with_defaults(recipe), signals).parts():
            findings.extend(some)
    except InputError as error:
        where = f"{error.where}: " if error.where else ""
        findings.append(Finding("problem", "input", f"{where}{error.message}", error.fix or ""))
    return findings


class _Doctor:
    def __init__(self, recipe: Recipe, signals: Path | None) -> None:
        self.recipe = recipe
        self.signals = signals or default_root()

    def parts(self) -> Iterator[list[Finding]]:
        """What each stage finds, in order; what was found stays said when a later stage cannot be looked at."""
        check_recipe(self.recipe)
        collection = open_collection(self.recipe.collection)
        split = judged_split(collection, self.recipe)
        yield self._collection(collection, split)
        teacher = open_teacher(self.recipe.teacher)
        check_teacher(self.recipe, collection, teacher, split)
        documents = list(islice(collection.texts(), _PROBE))
        yield self._teacher(teacher)
        if doubt := doubtful_index(teacher, collection):
            yield [Finding("warning", "index", doubt, "name the model that made the index, with its prompts")]
        queries = gather_queries(self._with_some_queries(), collection, split, generate=False)
        yield self._leakage(queries, collection, split)
        yield self._generator(collection, queries, documents)
        speed: dict[Role, float] = {}
        for role, texts in (("document", documents), ("query", queries.texts[:_PROBE])):
            yield self._vectors(teacher, texts, role, speed)  # type: ignore[arg-type]
        yield self._cost(teacher, collection, queries, speed)
        panel = open_panel(self.recipe.scorers, collection)
        told = scorers_cost(self.recipe, panel, collection, queries, split, documents)
        yield [Finding("ok", "scorers", line) for line in told]
        yield self._student(teacher, collection, queries, panel)

    def _with_some_queries(self) -> Recipe:
        """The recipe; where a model will write the queries, with cuts in their place, for something to look at."""
        queries = self.recipe.queries
        if queries.generator is None or not queries.generated or queries.cuts:
            return self.recipe
        return self.recipe.model_copy(update={"queries": queries.model_copy(update={"cuts": True})})

    def _collection(self, collection: Collection, split: str | None) -> list[Finding]:
        found = [Finding("ok", "collection", line) for line in collection.notes.lines()[:1]]
        found += [Finding("warning", "collection", line) for line in collection.notes.lines()[1:]]
        if split is None:
            found.append(
                Finding("warning", "collection", "no judgments: agreement with the teacher is measured, not retention")
            )
        return found

    def _teacher(self, teacher: VectorTeacher) -> list[Finding]:
        found = [
            Finding("ok", "teacher", f"{teacher.name}: {teacher.dimensions} dimensions, compared by {teacher.metric}")
        ]
        for role in ("query", "document"):
            on_disk = teacher.query_vectors if role == "query" else teacher.index
            if on_disk is None:
                fingerprint = teacher.fingerprint(role)
                prompt = f"prompt {fingerprint.prompt!r}" if fingerprint.prompt else "no prompt"
                found.append(Finding("ok", "teacher", f"{role}: {prompt}, at most {teacher.max_length(role)} tokens"))
        return found

    def _leakage(self, queries: TrainingQueries, collection: Collection, split: str | None) -> list[Finding]:
        ids = never_trained(collection, self.recipe, split)
        never = {normalise(collection.queries[i]) for i in ids if i in collection.queries}
        leaked = [text for text in (*queries.texts, *queries.held_out) if normalise(text) in never]
        if leaked:
            return [Finding("problem", "leakage", f"{len(leaked)} evaluated queries are among the training queries")]
        parts = ", ".join(f"{count:,} {name}" for name, count in queries.counts.items())
        out = queries.excluded.get("evaluated queries", 0)
        return [
            Finding(
                "ok", "queries", f"{len(queries.texts):,} for training ({parts}), {len(queries.held_out):,} held out"
            ),
            Finding("ok", "leakage", f"no evaluated query is trained on; {out:,} cuts that equal one are left out"),
        ]

    def _generator(self, collection: Collection, queries: TrainingQueries, documents: list[str]) -> list[Finding]:
        spec = self.recipe.queries.generator
        if spec is None or not self.recipe.queries.generated:
            return []
        writer = open_generator(spec, self.recipe.training.seed, self.signals).writer
        documented = spec.reads == "documents"
        some = (documents if documented else queries.texts)[:_WRITTEN]
        real = [*queries.sources, *queries.held_out_sources].count("real")
        count = min(spec.sources, collection.document_count if documented else real)
        before = time.perf_counter()
        writer.write(some)
        seconds = (time.perf_counter() - before) * count / len(some)
        return [
            Finding(
                "ok",
                "generator",
                f"{writer.name}: at most {duration(seconds)} to write {spec.each} queries for each of {count:,}"
                f" {spec.reads}, from a short trial; what it writes is not among the queries counted here",
            )
        ]

    def _vectors(self, teacher: VectorTeacher, texts: list[str], role: Role, speed: dict[Role, float]) -> list[Finding]:
        file = teacher.query_vectors if role == "query" else teacher.index
        found: list[Finding] = []
        if file is not None:
            vectors = file.gather(np.arange(min(_PROBE, len(file))))
        else:
            texts = [text for text in texts if text.strip()]
            before = time.perf_counter()
            vectors = teacher.encode(texts, role)
            speed[role] = float(teacher.lengths(texts, role).sum()) / (time.perf_counter() - before)
            cut = teacher.truncated(texts, role)
            if cut >= _CUT_SHARE * len(texts):
                found.append(
                    Finding(
                        "warning",
                        "length",
                        f"{cut} of {len(texts)} {role} texts looked at are longer than"
                        f" {teacher.max_length(role)} tokens; the teacher does not see their ends",
                        "cut documents into passages, or set teacher.max_length if the model can read more",
                    )
                )
        norms = np.linalg.norm(vectors, axis=1)
        unit = bool((np.abs(norms - 1) < _UNIT).all())
        found.append(
            Finding("ok", "norms", f"{role}: {'all 1' if unit else f'{norms.min():.3g} to {norms.max():.3g}'}")
        )
        if not unit and teacher.metric == "dot" and role == "query":
            found.append(
                Finding(
                    "warning",
                    "norms",
                    "the teacher's vectors are not of length 1: the student must learn lengths too,"
                    " and unsquared L2 depends on their scale",
                    "match:cosine ignores lengths; use it if rankings by cosine will do",
                )
            )
        directions = vectors / np.maximum(norms[:, None], 1e-12)
        mean = directions.mean(axis=0)
        crowding = float(mean @ mean)
        if crowding > _CROWDED:
            found.append(
                Finding(
                    "warning",
                    "collapse",
                    f"{role}: different texts have a mean cosine of {crowding:.2f}; rankings hang on small differences",
                    "add the objective scores:kl, which sees differences alone",
                )
            )
        return found

    def _cost(
        self, teacher: VectorTeacher, collection: Collection, queries: TrainingQueries, speed: dict[Role, float]
    ) -> list[Finding]:
        store = SignalStore(self.signals)
        seconds, rows, missing = 0.0, 0, 0
        parts: list[tuple[Role, object, list[str], int]] = [
            ("document", teacher.index, self._some_documents(collection), collection.document_count),
            ("query", teacher.query_vectors, queries.texts[:_LOOKED_UP], len(queries.texts)),
        ]
        for role, on_disk, some, count in parts:
            if on_disk is not None or not some:
                continue
            absent = store.vectors(teacher.fingerprint(role)).missing(some)
            rows += count
            if absent:
                lacking = round(count * len(absent) / len(some))
                missing += lacking
                seconds += float(teacher.lengths(absent, role).mean()) * lacking / speed[role]
        needed = rows * (2 * teacher.dimensions + 32)
        parent = self.signals
        while not parent.exists():
            parent = parent.parent
        free = shutil.disk_usage(parent).free
        found = [
            Finding(
                "ok",
                "time",
                f"about {duration(seconds)} for the teacher to encode {missing:,} texts on this machine, from a short"
                f" trial; the store holds the others of {rows:,} already",
            )
        ]
        level: Level = "problem" if needed > free else "ok"
        fix = "make room, or give another --signals" if needed > free else ""
        found.append(
            Finding(
                level, "disk", f"{needed / 1e6:,.1f} MB of signals in {self.signals}, {free / 1e9:,.1f} GB free", fix
            )
        )
        return found

    def _some_documents(self, collection: Collection) -> list[str]:
        """Documents from all over the corpus: a store that was being filled holds its beginning alone."""
        step = max(1, collection.document_count // _LOOKED_UP)
        return list(islice(collection.texts(), 0, None, step))

    def _student(
        self, teacher: VectorTeacher, collection: Collection, queries: TrainingQueries, panel: Panel
    ) -> list[Finding]:
        if self.recipe.student.reads == "pairs":
            return [self._ranker(teacher, collection, queries)]
        if self.recipe.index is not None:  # the head is not fitted yet; its width is all that is looked at
            teacher = CompressedTeacher(teacher, np.eye(self.recipe.index.width, teacher.dimensions))
        task = build_task(self.recipe, collection, teacher, queries, panel)
        check_task(task, collection, teacher, queries, self.recipe.candidates.count)
        tower = task.query_tower
        tokens = tower.tokens(queries.texts, "query")
        held = sum(value.numel() for value in tower.state_dict().values())
        found = [
            Finding(
                "ok",
                "student",
                f"{tower.kind}, {tower.dimensions} dimensions, about {held:,} numbers;"
                f" {tokens.lengths.mean():.1f} tokens a training query",
            )
        ]
        if tokens.truncated:
            found.append(
                Finding("warning", "student", f"{tokens.truncated:,} training queries are cut at its maximum length")
            )
        if tokens.unknown:
            found.append(
                Finding("warning", "student", f"{tokens.unknown:,} training queries hold no token that it knows")
            )
        return found

    def _ranker(self, teacher: VectorTeacher, collection: Collection, queries: TrainingQueries) -> Finding:
        check_ranker(self.recipe)
        texts = representative(collection, queries)
        ranker, kind = untrained_ranker(self.recipe.student, teacher, texts, self.recipe.training.seed)
        held = sum(value.numel() for value in ranker.parameters())
        return Finding(
            "ok", "student", f"{kind}, reads pairs of up to {ranker.pairs.max_length} tokens; {held:,} numbers"
        )
