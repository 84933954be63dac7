"""The terms that learn from rankings: blocks against blocks, and scores of teachers in the training process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ..objectives import ScoreKL
from ..students.tower import Tower
from ..teachers.blocks import Tap
from .batch import Batch, Outputs
from .data import TrainingSet
from .documents import Candidates
from .layer_terms import DrawnLayers, LayerTerm, drawn_taps, layer_value, places_of, response_value, stacked
from .live_dual_encoder import layer_scores
from .passes import Pass
from .rankers import Asked, Ranked, Ranker, asked
from .terms import ScoreTerm

Ranking = ScoreTerm | LayerTerm


class RankedTerms(torch.nn.Module):
    """What a task needs for such terms.

    Args:
        rankers: by name.
        seed: of layer draws.
        detach: whether a trained teacher gets no gradient from terms whose target it is.

    Attributes:
        trained: the rankers that are trained; they are modules of the task, the frozen ones are not.
    """

    def __init__(self, rankers: Mapping[str, Ranker], *, seed: int, detach: bool) -> None:
        super().__init__()
        self.seed, self.detach = seed, detach
        self.trained = torch.nn.ModuleDict({name: one.settle() for name, one in rankers.items() if one.trained})
        self._frozen = {name: one.settle() for name, one in rankers.items() if not one.trained}

    @property
    def rankers(self) -> dict[str, Ranker]:
        """All of them, by name."""
        return {**self._frozen, **{name: cast(Ranker, one) for name, one in self.trained.items()}}

    @property
    def live(self) -> dict[str, bool]:
        """Their names, and whether each reads pairs."""
        return {name: ranker.reads_pairs for name, ranker in self.rankers.items()}

    def _apply(self, fn: Any, recurse: bool = True) -> RankedTerms:
        for one in self._frozen.values():  # no modules of the task, but they live where it lives
            one._apply(fn)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def prepare(
        self,
        batch: Batch,
        data: TrainingSet,
        queries: np.ndarray,
        terms: Sequence[Ranking],
        *,
        student: Tower,
        at: tuple[int, int],
    ) -> None:
        """Draw the blocks of this update and look up what they, and the live teachers, need.

        Args:
            batch: with its candidates; gets the rest.
            data: where things are.
            queries: `(q,)` query numbers of the batch.
            terms: all that compare.
            student: the tower whose blocks are paired.
            at: update and epoch.
        """
        device = batch.query_targets.device
        wanted: dict[str, list[Tap]] = {name: [] for name in self.rankers}
        ours: list[Tap] = []
        for number, term in enumerate(term for term in terms if isinstance(term, LayerTerm)):
            stored = None if term.teacher is not None else data.layers[term.spec.place]
            deep = stored.depth if stored is not None else self.rankers[str(term.teacher)].depth
            own, teacher = drawn_taps(term, student.depth, deep, seed=self.seed + number, step=at[0])
            ours += own
            vectors = None
            if stored is None:
                wanted[str(term.teacher)] += teacher
            else:
                blocks = [tap.block for tap in teacher]
                shape = (-1, stored.depth, stored.width)
                rows = (stored.queries.gather(queries), stored.documents.gather(batch.candidates[term.name].documents))
                vectors = tuple(torch.from_numpy(part.reshape(shape)[:, blocks]).to(device) for part in rows)
            batch.layers[term.name] = DrawnLayers(own, teacher, vectors, term.factor(at[1]))  # type: ignore[arg-type]
        batch.taps = tuple(sorted(set(ours)))
        for name, ranker in self.rankers.items():
            heard = [term for term in terms if term.teacher == name]
            if heard and len(queries):
                batch.asked[name] = self._asked(ranker, heard, batch, data, queries, wanted[name])

    def _asked(
        self,
        ranker: Ranker,
        terms: Sequence[Ranking],
        batch: Batch,
        data: TrainingSet,
        queries: np.ndarray,
        taps: Sequence[Tap],
    ) -> Asked:
        rows = np.unique(np.concatenate([batch.candidates[term.name].documents for term in terms]))
        own = np.full((len(queries), 0), -1, dtype=np.int64)
        if ranker.reads_pairs:
            assert data.mined is not None
            own = np.asarray(data.mined[queries])[:, : max(term.count for term in terms)]
        return asked(data.read[ranker.name], queries, rows, own, tuple(sorted(set(taps))))

    def passes(self, batch: Batch) -> list[Pass]:
        """What the live teachers encode."""
        return [one for name, question in batch.asked.items() for one in self.rankers[name].passes(question)]

    def heard(self, outputs: Outputs, batch: Batch) -> dict[str, Ranked]:
        """What the live teachers say of the batch."""
        return {
            name: self.rankers[name].ranked(outputs.values, question)
            for name, question in batch.asked.items()
            if len(question.rows)
        }

    def value(
        self, term: Ranking, outputs: Outputs, batch: Batch, heard: Mapping[str, Ranked], *, cosine: bool
    ) -> Tensor | None:
        """One term's value; None where the batch has nothing for it."""
        chosen = batch.candidates[term.name]
        if term.teacher is not None and term.teacher not in heard:
            return None
        if isinstance(term, LayerTerm):
            return self._layers(term, chosen, outputs, batch, heard)
        ranker = self.rankers[str(term.teacher)]
        last = self._of(ranker, heard[ranker.name].last.unsqueeze(0), chosen, batch.asked[ranker.name], term.count)[0]
        if not term.objective.signals:  # the teacher's own contrastive loss
            assert chosen.positives is not None
            return term.objective(last, chosen.positives, mask=chosen.mask)
        assert outputs.queries is not None
        if not ranker.trained:
            chosen.target = last
            return chosen.value(term, batch.query_targets, outputs.queries, outputs.documents, cosine=cosine)
        assert isinstance(term.objective, ScoreKL)
        assert outputs.documents is not None
        student = chosen.rate(outputs.queries, outputs.documents, cosine=cosine)
        return response_value(term.objective, student, last, chosen.mask, detach=self.detach)

    def _layers(
        self, term: LayerTerm, chosen: Candidates, outputs: Outputs, batch: Batch, heard: Mapping[str, Ranked]
    ) -> Tensor:
        drawn = batch.layers[term.name]
        device = batch.query_targets.device
        own = places_of(batch.taps, drawn.student, device)
        documents = outputs.layers["document"][:, own][chosen.places]
        student = stacked(layer_scores(outputs.layers["query"][:, own], documents), chosen.columns)
        trained = False
        if drawn.stored is not None:
            teacher = stacked(layer_scores(*drawn.stored), chosen.columns)
        else:
            ranker, question = self.rankers[str(term.teacher)], batch.asked[str(term.teacher)]
            layers = heard[ranker.name].layers[places_of(question.taps, drawn.teacher, device)]
            teacher = self._of(ranker, layers, chosen, question, term.count)
            trained = ranker.trained
        return layer_value(
            term,
            student,
            teacher,
            positives=chosen.positives,
            mask=chosen.mask,
            rivals=chosen.rivals,
            detach=self.detach or not trained,
        )

    def _of(self, ranker: Ranker, scores: Tensor, chosen: Candidates, question: Asked, count: int) -> Tensor:
        """A ranker's scores `(k, q, ...)` of a term's own candidates."""
        if ranker.reads_pairs:
            return scores[:, :, :count]
        places = torch.from_numpy(np.searchsorted(question.rows, chosen.documents)).to(scores.device)
        return stacked(scores[:, :, places], chosen.columns)
