"""The task: all that is trained, and what one batch of it costs.

A task owns the towers and the terms of the loss; its `state_dict` is the whole of what training changes. It turns row
numbers into tensors (`prepare`), these into the student's vectors (`forward`) and those into the loss (`losses`).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..recipe import Role
from ..students.tokens import Tokens
from ..students.tower import TouchedRows, Tower
from .augmentation import Augmentation, AugmentedTerm
from .batch import Batch, Outputs
from .data import EveryDocument, TrainingSet
from .documents import candidates
from .identity import tokens_digest
from .layer_terms import LayerTerm
from .live_dual_encoder import layered
from .pair_rows import PairRows, pair_rows
from .passes import Pass, Values, encoded
from .ranked_terms import RankedTerms
from .rankers import Ranked, Ranker
from .relation_terms import RelationTerm, relation_terms_of
from .relations import Relations
from .terms import MatchTerm, ScoreTerm, Term, VoteTerm, learned_with
from .trainable import Losses, Trainable
from .vote_report import vote_report

Mode = Literal["asymmetric", "shared", "separate"]
Metric = Literal["dot", "cosine"]


class Task(Trainable[TrainingSet]):
    """Towers and terms.

    Args:
        query_tower: encodes queries (and documents too when `mode` is shared).
        terms: from `build_terms`.
        mode: `asymmetric`: documents are the teacher's; `shared`: one tower; `separate`: `document_tower` too.
        document_tower: only for `separate`.
        metric: how vectors are compared in score terms, as the teacher's are.
        seed: of the documents drawn by terms that sample.
        heads: scorer -> width of its vectors, where terms match these and it is not the student's: the student then
            gets a linear head for it, which is trained with the task and no part of the student.
        rankers: teachers that are in the training process, by name; those that are trained become part of the task.
        detach: whether terms that a trained teacher is the target of give it no gradient.
        teacher_rate: learning rate of those that are trained; None: the student's.

    Attributes:
        document_root: `(d, d)`, for terms that weigh a residual by the documents' covariance.
        augmentation: terms on inputs that are made from the batch's texts.
    """

    def __init__(
        self,
        query_tower: Tower,
        terms: Sequence[Term],
        *,
        mode: Mode = "asymmetric",
        document_tower: Tower | None = None,
        metric: Metric = "dot",
        seed: int = 0,
        heads: Mapping[str, int] | None = None,
        augmentation: Augmentation | None = None,
        rankers: Mapping[str, Ranker] | None = None,
        detach: bool = False,
        teacher_rate: float | None = None,
    ) -> None:
        super().__init__()
        if (mode == "separate") != (document_tower is not None):
            raise ValueError("a document tower goes with separate towers, and with them only")
        self.query_tower = query_tower
        if document_tower is not None:
            self.separate_document_tower = document_tower
        self.mode, self.metric, self.seed = mode, metric, seed
        self.augmentation = augmentation
        self.teacher_rate = teacher_rate
        self.ranked = RankedTerms(rankers or {}, seed=seed, detach=detach)
        self.every_document = EveryDocument()
        self.set_terms(terms)
        self.document_root: Tensor | None = None
        self.heads = torch.nn.ModuleDict()
        self._head_of = {name: f"head_{number}" for number, name in enumerate(heads or {})}
        for number, (name, width) in enumerate((heads or {}).items()):
            head = torch.nn.Linear(query_tower.dimensions, width, bias=False)
            with torch.no_grad():
                generator = torch.Generator().manual_seed(seed + number)
                torch.nn.init.orthogonal_(head.weight, generator=generator)
            self.heads[self._head_of[name]] = head

    def set_terms(self, terms: Sequence[Term]) -> None:
        """Take terms from `build_terms`, with empty queues; those of the augmentation stay."""
        self.terms: tuple[Term | AugmentedTerm, ...] = (
            *terms,
            *(self.augmentation.terms if self.augmentation else ()),
        )
        self.learned_objectives = learned_with(self.terms)
        self.relations = Relations(
            relation_terms_of(self.terms),
            self.query_tower.dimensions,
            self.every_document,
            seed=self.seed,
            cosine=self.metric == "cosine",
        )

    @property
    def kind(self) -> str:
        """The student's kind."""
        return self.query_tower.kind

    @property
    def term_names(self) -> tuple[str, ...]:
        """Names of the terms."""
        return tuple(term.name for term in self.terms)

    @property
    def document_tower(self) -> Tower | None:
        """The tower that encodes documents; None when they are the teacher's."""
        if self.mode == "asymmetric":
            return None
        tower = self.query_tower if self.mode == "shared" else self.separate_document_tower
        assert isinstance(tower, Tower)
        return tower

    @property
    def towers(self) -> dict[Role, Tower]:
        """The distinct towers, by the role they were made for."""
        towers: dict[Role, Tower] = {"query": self.query_tower}
        if self.mode == "separate" and self.document_tower is not None:
            towers["document"] = self.document_tower
        return towers

    @property
    def device(self) -> torch.device:
        """Where the query tower lives."""
        held = itertools.chain(self.query_tower.parameters(), self.query_tower.buffers())
        return next(held).device

    @property
    def padded(self) -> bool:
        """Whether any tower pads the texts of a batch."""
        return any(tower.padded for tower in self.towers.values())

    @property
    def score_terms(self) -> list[ScoreTerm]:
        """The terms that compare queries with documents."""
        return [term for term in self.terms if isinstance(term, ScoreTerm)]

    @property
    def layer_terms(self) -> list[LayerTerm]:
        """The terms that compare what blocks make of queries and documents."""
        return [term for term in self.terms if isinstance(term, LayerTerm)]

    @property
    def comparing_terms(self) -> list[ScoreTerm | LayerTerm]:
        """All terms that need candidates."""
        return [term for term in self.terms if isinstance(term, ScoreTerm | LayerTerm)]

    @property
    def match_terms(self) -> list[MatchTerm]:
        """The terms that compare vectors one by one."""
        return [term for term in self.terms if isinstance(term, MatchTerm)]

    @property
    def document_terms(self) -> list[MatchTerm | RelationTerm]:
        """The terms for which documents are rows of the training set themselves."""
        if self.document_tower is None:
            return []
        related = [term for term in self.relations.terms if term.rows != "partner"]
        found: list[MatchTerm | RelationTerm] = [*self.match_terms, *related]
        return [term for term in found if term.role != "query"]

    def lengths(self, data: TrainingSet, epoch: int = 0) -> np.ndarray:
        """Tokens that each row of the data brings into a batch, `(n, k)`: its own, and its documents' if encoded."""
        own = data.query_tokens.lengths
        columns = [own]
        if self.document_tower is not None and data.document_tokens is not None:
            document = np.concatenate([data.document_tokens.lengths, [0]])  # row -1: no document
            wanted = {term.documents for term in self.comparing_terms}
            brought = np.zeros_like(own)
            if "batch" in wanted and data.sources is not None:
                brought += document[data.sources]
            if wanted & {"mined", "pooled"} and data.mined is not None:
                brought += document[data.mined].sum(axis=1)
            columns.append(brought)
            trained = document[data.trained_documents]
            columns = [
                np.concatenate([own, np.zeros_like(trained)]),
                np.concatenate([brought, trained]),
            ]
        return np.stack(columns, axis=1)

    def prepare(self, data: TrainingSet, rows: np.ndarray, step: int, epoch: int = 0) -> Batch:
        """Look up all that rows of the data need; `step` decides what is sampled."""
        device = self.device
        queries, trained = data.split(rows)
        fitting = data.positive_of(queries, np.random.default_rng([self.seed, step]))
        drawn = {
            term.name: candidates(term, data, queries, fitting, np.random.default_rng([self.seed, step, 1 + number]))
            for number, term in enumerate(self.terms)
            if isinstance(term, ScoreTerm | LayerTerm)
        }
        targets = torch.from_numpy(data.query_targets.gather(queries)).to(device)
        matched = torch.empty(0, dtype=torch.int64, device=device)
        batch = Batch(data.query_tokens.select(queries), targets, None, None, matched, drawn)
        listened = [term for term in self.match_terms if term.teacher is not None]
        if self.augmentation is not None:
            texts: dict[Role, Tokens] = {"query": batch.query_tokens}
            if data.document_tokens is not None:
                texts["document"] = data.document_tokens.select(trained)
            batch.drawn = self.augmentation.draw(texts, step)
        if self.document_tower is None:
            batch.related = self.relations.prepare(batch, data, queries, trained, fitting, None, step=step)
            for chosen in drawn.values():
                chosen.load(data, device, self.every_document(data, device) if chosen.all else None)
            batch.pairs = {term.name: pair_rows(term, data, queries, None, device) for term in listened}
            return batch
        partners = self.relations.partners(fitting)
        wanted = np.unique(np.concatenate([trained, partners, *(chosen.documents for chosen in drawn.values())]))
        assert data.document_tokens is not None
        assert data.documents is not None
        batch.document_tokens = data.document_tokens.select(wanted)
        batch.document_targets = torch.from_numpy(data.documents.gather(wanted)).to(device)
        batch.matched = torch.from_numpy(np.searchsorted(wanted, trained)).to(device)
        batch.related = self.relations.prepare(batch, data, queries, trained, fitting, wanted, step=step)
        for chosen in drawn.values():
            chosen.place(wanted, batch.document_targets)
        batch.pairs = {term.name: pair_rows(term, data, queries, wanted, device) for term in listened}
        self.ranked.prepare(batch, data, queries, self.comparing_terms, student=self.query_tower, at=(step, epoch))
        return batch

    def passes(self, batch: Batch) -> list[Pass]:
        """Every distinct text of the batch, once; and what live teachers read."""
        found = [
            Pass("query", len(batch.query_tokens), partial(layered, self.query_tower, batch.query_tokens, batch.taps))
        ]
        if self.document_tower is not None and batch.document_tokens is not None:
            run = partial(layered, self.document_tower, batch.document_tokens, batch.taps)
            found.append(Pass("document", len(batch.document_tokens), run))
        return [one for one in (*found, *self.ranked.passes(batch)) if one.texts]

    def assembled(self, values: Values, batch: Batch) -> Outputs:
        """What the passes gave, put in its place."""
        sides: tuple[Role, Role] = ("query", "document")
        queries, documents = (values[side][0] if side in values else None for side in sides)
        layers = {side: values[side][1] for side in sides if side in values and batch.taps}
        augmented = {} if self.augmentation is None else self.augmentation(batch.drawn)
        return Outputs(queries, documents, augmented, layers, values)

    def forward(self, batch: Batch) -> Outputs:
        """Encode every distinct text of the batch once."""
        return self.assembled(encoded(self.passes(batch)), batch)

    def losses(self, outputs: Outputs, batch: Batch) -> Losses:
        """All terms, in float32, and their weighted sum. A term for which the batch has no text is 0."""
        zero = torch.zeros((), device=batch.query_targets.device)
        values: dict[str, Tensor] = {}
        heard = self.ranked.heard(outputs, batch)
        for term in self.terms:
            value = self._match(term, outputs, batch) if isinstance(term, MatchTerm) else None
            if isinstance(term, ScoreTerm | LayerTerm):
                value = self._scores(term, outputs, batch, heard)
            if isinstance(term, RelationTerm):
                value = self.relations.value(term, _by_role(outputs), batch.related)
            if isinstance(term, AugmentedTerm) and term.name in outputs.augmented:
                value = term.objective(*outputs.augmented[term.name])
            values[term.name] = zero if value is None else value
        total = zero
        for term in self.terms:
            weight = term.weight * batch.layers[term.name].factor if term.name in batch.layers else term.weight
            total = total + weight * values[term.name]
        return Losses(total, values)

    def details(self, outputs: Outputs, batch: Batch) -> dict[str, Any]:
        """Relations to a bank: their KL gap, and the teacher's neighbourhoods. Votes: who is dropped, how often."""
        votes = {}
        for term in self.score_terms:
            chosen = batch.candidates[term.name]
            if not isinstance(term, VoteTerm) or term.objective.family != "vote":
                continue
            if outputs.queries is not None and len(chosen.documents):
                given = (batch.query_targets, outputs.queries, outputs.documents)
                votes[term.name] = vote_report(term, *chosen.ballot(term, *given, cosine=self.metric == "cosine"))
        told = {"relations": self.relations.report(_by_role(outputs), batch.related), "votes": votes}
        return {topic: lines for topic, lines in told.items() if lines}

    def gradient_norms(self, losses: Losses, outputs: Outputs) -> dict[str, float]:
        """Norm of each weighted term's gradient with respect to the student's vectors of the batch.

        This is what a term pulls with, whatever its scale; call it before the backward pass, which it leaves as it was.
        """
        tensors = outputs.tensors()
        norms: dict[str, float] = {}
        for term in self.terms:
            value = losses.terms[term.name]
            norms[term.name] = 0.0
            if value.requires_grad:
                parts = torch.autograd.grad(term.weight * value, tensors, retain_graph=True, allow_unused=True)
                squares = [part.double().square().sum() for part in parts if part is not None]
                norms[term.name] = float(torch.stack(squares).sum().sqrt()) if squares else 0.0
        return norms

    def touched(self) -> dict[str, list[TouchedRows]]:
        """What the last passes used of the tables that are trained by rows, by a name that does not change."""
        uses: dict[str, list[TouchedRows]] = {}
        for role, tower in self.towers.items():
            names = {id(table): f"{role}.{name}" for name, table in tower.named_tables().items()}
            for use in tower.touched():
                uses.setdefault(names[id(use.table)], []).append(use)
        return uses

    def clear_touched(self) -> None:
        """Forget what the last passes used."""
        for tower in self.towers.values():
            tower.clear_touched()

    def is_apart(self, name: str) -> bool:
        """A teacher that is trained too has its own group."""
        return name.startswith("ranked.")

    def rate_of(self, name: str) -> float | None:
        """That of such a teacher."""
        return self.teacher_rate if self.is_apart(name) else None

    def identity(self, data: TrainingSet) -> dict[str, Any]:
        """Towers, objectives, and a digest of all that the student reads."""
        return {
            "tokens": tokens_digest(data.query_tokens, data.document_tokens),
            "towers": self.mode,
            "objectives": [repr(term) for term in self.terms],
        }

    def _match(self, term: MatchTerm, outputs: Outputs, batch: Batch) -> Tensor | None:
        if term.teacher is not None:
            return self._match_pairs(term, outputs, batch.pairs[term.name])
        students, teachers = [], []
        if term.role in ("query", "both") and outputs.queries is not None:
            students.append(outputs.queries)
            teachers.append(batch.query_targets)
        if term.role in ("document", "both") and outputs.documents is not None and len(batch.matched):
            assert batch.document_targets is not None
            students.append(outputs.documents[batch.matched])
            teachers.append(batch.document_targets[batch.matched])
        if not students:
            return None
        student, teacher = torch.cat(students), torch.cat(teachers)
        if self.document_root is not None and term.objective.form == "covariance":
            return term.objective(student, teacher, root=self.document_root.to(student.device))
        return term.objective(student, teacher)

    def _match_pairs(self, term: MatchTerm, outputs: Outputs, rows: PairRows) -> Tensor | None:
        """The student's vectors against a scorer's; where the student's have unit length, so have the targets."""
        students, teachers = [], []
        for vectors, places, targets in (
            (outputs.queries, rows.queries, rows.query_targets),
            (outputs.documents, rows.documents, rows.document_targets),
        ):
            if vectors is not None and len(places):
                students.append(vectors[places])
                teachers.append(targets)
        if not students:
            return None
        student, teacher = torch.cat(students), torch.cat(teachers)
        assert term.teacher is not None
        if term.teacher in self._head_of:
            student = self.heads[self._head_of[term.teacher]](student)
            if self.query_tower.normalize:
                student = torch.nn.functional.normalize(student, dim=1)
        return term.objective(student, teacher)

    def _scores(
        self, term: ScoreTerm | LayerTerm, outputs: Outputs, batch: Batch, heard: Mapping[str, Ranked]
    ) -> Tensor | None:
        chosen = batch.candidates[term.name]
        if outputs.queries is None or not len(chosen.documents):
            return None
        if isinstance(term, LayerTerm) or term.live:
            return self.ranked.value(term, outputs, batch, heard, cosine=self.metric == "cosine")
        return chosen.value(
            term, batch.query_targets, outputs.queries, outputs.documents, cosine=self.metric == "cosine"
        )


def _by_role(outputs: Outputs) -> dict[Role, Tensor | None]:
    return {"query": outputs.queries, "document": outputs.documents}
