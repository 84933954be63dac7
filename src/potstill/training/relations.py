"""What a task needs for relations: banks of teacher vectors, and in each batch who is related to what."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..objectives import BankContrast, BankRelations
from ..recipe import Role
from .batch import Batch
from .data import EveryDocument, TrainingSet
from .queue import VectorQueue
from .relation_terms import CENTROIDS, QUEUE, Bank, Drawn, Related, RelationTerm, drawn_documents

NOBODY, NO_TEXT = -1, -2
"""Identity of texts that cannot be in the bank (queries, in one of documents), and of rows that are no text."""


class Relations(torch.nn.Module):
    """Queues and learned scales, which are state and are in every checkpoint; and the value of a batch.

    Args:
        terms: the task's.
        width: of the teacher's vectors.
        every_document: the task's.
        seed: of the rows that are drawn.
        cosine: whether vectors are compared by angle.
    """

    def __init__(
        self, terms: Iterable[RelationTerm], width: int, every_document: EveryDocument, *, seed: int, cosine: bool
    ) -> None:
        super().__init__()
        self.terms, self.every_document = tuple(terms), every_document
        self.seed, self.cosine = seed, cosine
        self.queues = torch.nn.ModuleDict()
        self.scales = torch.nn.ParameterDict()
        for number, term in enumerate(self.terms):
            if term.rows == "queue":
                for role in term.roles:
                    self.queues[f"{number}_{role}"] = VectorQueue(self.queue_size(term), width)
            if isinstance(term.inner, BankContrast) and term.inner.temperature is None:
                self.scales[str(number)] = torch.nn.Parameter(torch.ones(()))  # stored as a logarithm: e at first
        self._fixed: dict[tuple[str, torch.device], Bank] = {}

    def partners(self, fitting: np.ndarray) -> np.ndarray:
        """Documents that the student has to encode because a query of the batch fits them."""
        wanted = any(term.rows == "partner" and "document" in term.roles for term in self.terms)
        return np.unique(fitting[fitting >= 0]) if wanted else np.empty(0, dtype=np.int64)

    def prepare(
        self,
        batch: Batch,
        data: TrainingSet,
        queries: np.ndarray,
        trained: np.ndarray,
        fitting: np.ndarray,
        encoded: np.ndarray | None,
        *,
        step: int,
    ) -> Drawn:
        """Look up who is related to what.

        Args:
            batch: with the teacher's vectors of its texts.
            data: where things are.
            queries: `(q,)` query numbers of the batch.
            trained: `(t,)` documents that are rows of the batch.
            fitting: `(q,)` a document that each query fits, -1 where none is known.
            encoded: sorted documents that the student encodes; None: it encodes none.
            step: decides what is drawn.
        """
        drawn: Drawn = {}
        device = batch.query_targets.device
        for number, term in enumerate(self.terms):
            for role in term.roles:
                if role == "document" and encoded is None:
                    continue
                if term.rows == "partner":
                    related = _partnered(batch, data, queries, fitting, role, encoded)
                else:
                    texts = queries if role == "query" else trained
                    related = _related(batch, data, role, texts)
                    if term.banked and term.rows != "queue":
                        random = np.random.default_rng([self.seed, step, 1_000 + 2 * number + (role == "document")])
                        own = np.concatenate([trained, fitting])
                        related.bank = self.bank(term, data, role, texts, random, device, own)
                        if role == "query":
                            related.ids = torch.full_like(related.ids, NOBODY)
                if len(related.places):
                    drawn[term.name, role] = related
        return drawn

    def value(self, term: RelationTerm, vectors: dict[Role, Tensor | None], drawn: Drawn) -> Tensor | None:
        """One term: the mean over its texts of both roles, each compared within its own; None for too few texts."""
        total, count = None, 0
        for role in term.roles:
            related = drawn.get((term.name, role))
            student = vectors.get(role)
            if related is None or student is None:
                continue
            value = self._of_role(term, role, student, related)
            if value is not None:
                part = value * len(related.places)
                total = part if total is None else total + part
                count += len(related.places)
        return None if total is None else total / count

    def report(self, vectors: dict[Role, Tensor | None], drawn: Drawn) -> dict[str, dict[str, float]]:
        """What to log of relations to a bank (`BankRelations.report`), by term and role; after `value`."""
        found = {}
        for term in self.terms:
            inner = term.inner
            for role in term.roles:
                related, student = drawn.get((term.name, role)), vectors.get(role)
                if not isinstance(inner, BankRelations) or related is None or student is None or related.bank is None:
                    continue
                name = term.name if len(term.roles) == 1 else f"{term.name}, {role}"
                ours, targets, bank = self._compared(student.detach()[related.places], related.targets, related.bank)
                try:
                    found[name] = inner.report(
                        ours, targets, bank=bank.rows, ids=related.ids, bank_ids=bank.ids, offsets=bank.offsets
                    )
                except ValueError:
                    continue  # no text of this batch has a row that counts
        return found

    def _of_role(self, term: RelationTerm, role: Role, student: Tensor, related: Related) -> Tensor | None:
        ours = student[related.places]
        if len(ours) < term.objective.minimum_batch:
            return None
        if term.rows == "queue":
            related.bank = self._queued(term, role, related)
        if related.bank is None:
            ours, targets, _ = self._compared(ours, related.targets, None)
            more = {"ids": related.ids} if term.inner.form == "own" else {}
            return term.objective(ours, targets, **more)
        ours, targets, bank = self._compared(ours, related.targets, related.bank)
        given: dict[str, Tensor | None] = {"bank": bank.rows, "ids": related.ids, "bank_ids": bank.ids}
        if isinstance(term.inner, BankRelations):
            given["offsets"] = bank.offsets
        number = str(self.terms.index(term))
        if number in self.scales:
            given["scale"] = self.scales[number].exp()
        return term.objective(ours, targets, **given)

    def _compared(self, ours: Tensor, targets: Tensor, bank: Bank | None) -> tuple[Tensor, Tensor, Bank]:
        """As the teacher compares them."""
        rows = targets[:0] if bank is None else bank.rows
        ids, offsets = (targets.new_zeros(0), None) if bank is None else (bank.ids, bank.offsets)
        if self.cosine:
            ours, targets, rows = (F.normalize(each.float(), dim=1) for each in (ours, targets, rows))
        return ours, targets, Bank(rows, ids, offsets)

    def _queued(self, term: RelationTerm, role: Role, related: Related) -> Bank:
        """The queue with this batch in it, as published: what is trained on is pushed first, then compared."""
        queue = self.queues[f"{self.terms.index(term)}_{role}"]
        assert isinstance(queue, VectorQueue)
        if self.training:
            queue.push(related.targets, related.ids)
        rows, ids = queue.filled()
        if not len(rows):
            rows, ids = related.targets, related.ids
        return Bank(rows, ids)  # not a copy: nothing is pushed before this batch was differentiated

    def queue_size(self, term: RelationTerm) -> int:
        """Rows of a term's queue."""
        return term.bank.size or QUEUE

    def bank(
        self,
        term: RelationTerm,
        data: TrainingSet,
        role: Role,
        texts: np.ndarray,
        random: np.random.Generator,
        device: torch.device,
        own: np.ndarray | None = None,
    ) -> Bank:
        """Rows of the teacher's documents for texts of one role; `own` are the batch's, which are among them."""
        if term.rows != "store":
            return self._unchanging(term, data, device)
        assert data.documents is not None
        near = data.relating.neighbours[role][texts, : term.bank.neighbours + (role == "document")].ravel()
        known = near if own is None else np.concatenate([near, own])
        rows, offsets = drawn_documents(term.bank, known, len(data.documents), random)
        vectors = torch.from_numpy(data.documents.gather(rows)).to(device)
        ids = torch.from_numpy(data.relating.ids("document", rows)).to(device)
        return Bank(vectors, ids, None if offsets is None else torch.from_numpy(offsets).to(device))

    def _unchanging(self, term: RelationTerm, data: TrainingSet, device: torch.device) -> Bank:
        size = term.bank.size or CENTROIDS
        key = ("all" if term.rows == "all" else f"centroids {size}", device)
        if key not in self._fixed:
            if term.rows == "all":
                rows = self.every_document(data, device)
                ids = torch.from_numpy(data.relating.ids("document", np.arange(len(rows))))
            else:
                rows = torch.from_numpy(data.relating.centroids[size]).to(device)
                ids = torch.full((len(rows),), NO_TEXT)
            self._fixed[key] = Bank(rows, ids.to(device))
        return self._fixed[key]


def _related(batch: Batch, data: TrainingSet, role: Role, texts: np.ndarray) -> Related:
    """The texts of a role that are rows of the batch."""
    device = batch.query_targets.device
    ids = torch.from_numpy(np.asarray(data.relating.ids(role, texts))).to(device)
    if role == "query":
        return Related(torch.arange(len(texts), device=device), batch.query_targets, ids)
    assert batch.document_targets is not None
    return Related(batch.matched, batch.document_targets[batch.matched], ids)


def _partnered(
    batch: Batch,
    data: TrainingSet,
    queries: np.ndarray,
    fitting: np.ndarray,
    role: Role,
    encoded: np.ndarray | None,
) -> Related:
    """Queries with a document that they fit, in the role of either; the targets are those of the other."""
    assert data.documents is not None
    device = batch.query_targets.device
    there = np.flatnonzero(fitting >= 0)
    if role == "query":
        texts, places = queries[there], there
        targets = torch.from_numpy(data.documents.gather(fitting[there])).to(device)
    else:
        assert encoded is not None
        texts, places = fitting[there], np.searchsorted(encoded, fitting[there])
        targets = batch.query_targets[torch.from_numpy(there).to(device)]
    ids = torch.from_numpy(np.asarray(data.relating.ids(role, texts))).to(device)
    return Related(torch.from_numpy(places).to(device), targets, ids)
