"""The training queries of a run, and all that is known of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass
class TrainingQueries:
    """Distinct query texts with where each came from.

    Attributes:
        texts: training queries, at most `cap`, and what there is too much of (see `room`).
        sources: for each text its source: "real", "generated", "mixed", or one of `SOURCES`.
        documents: (n,) int64, number in the corpus of the document that a query was cut from or written for, or the
            first one that it is judged to fit; -1 where there is none.
        held_out: texts kept out of training, for validation; at most a quarter as many as are trained on.
        held_out_documents: as `documents`, for `held_out`.
        held_out_sources: as `sources`, for `held_out`.
        counts: training texts per source.
        excluded: how many candidates were left out, by reason.
        positives: for each text the numbers (int64) of the documents that it is judged to fit, in the judgments' order;
            empty where nothing is known.
        held_out_positives: as `positives`, for `held_out`.
        room: how many of the generated queries there is room for; a filter has to choose them. None: all are wanted.
    """

    texts: list[str]
    sources: list[str]
    documents: np.ndarray
    held_out: list[str]
    held_out_documents: np.ndarray
    counts: dict[str, int] = field(default_factory=dict)
    excluded: dict[str, int] = field(default_factory=dict)
    positives: list[np.ndarray] = field(default_factory=list)
    held_out_positives: list[np.ndarray] = field(default_factory=list)
    held_out_sources: list[str] = field(default_factory=list)
    room: int | None = None

    def __post_init__(self) -> None:
        nothing = np.empty(0, dtype=np.int64)
        self.positives = self.positives or [nothing] * len(self.texts)
        self.held_out_positives = self.held_out_positives or [nothing] * len(self.held_out)

    def examples(self, each: int = 3) -> dict[str, list[str]]:
        """A few texts of each source, for people to look at."""
        shown: dict[str, list[str]] = {}
        for text, source in zip(self.texts, self.sources, strict=True):
            if len(shown.setdefault(source, [])) < each:
                shown[source].append(text)
        return shown

    def taken(self, rows: np.ndarray, excluded: dict[str, int]) -> TrainingQueries:
        """These training queries alone, in this order; `excluded` says why the others went. What is held out stays."""
        sources = [self.sources[i] for i in rows]
        counts = Counter(sources)
        return replace(
            self,
            texts=[self.texts[i] for i in rows],
            sources=sources,
            documents=self.documents[rows],
            positives=[self.positives[i] for i in rows],
            counts={name: counts[name] for name in self.counts if counts[name]},
            excluded=self.excluded | {reason: count for reason, count in excluded.items() if count},
            room=None,
        )
