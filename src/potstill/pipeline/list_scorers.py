"""Scorers that know a collection's documents by their rows: BM25, and scores that were computed before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from ..candidates import Bm25Index, bm25_for, drawn_to_read, saved_ranking
from ..collection import Collection
from ..errors import InputError
from ..progress import say
from ..recipe import VECTORS, Recipe, ScorerSpec
from ..teachers.identity import file_digest
from ..teachers.scorer import AboutScorer, PairSignal
from .lists import query_names

_HELD_BYTES = 4 * 2**30  # of scores of every document for every training query, one scorer's


@runtime_checkable
class ListScorer(AboutScorer, Protocol):
    """A scorer that is asked for lists, not for pairs of texts; what it says is cheap, and no signal that is kept."""

    def identity(self) -> str:
        """What its scores depend on."""

    def of_lists(self, queries: Sequence[str], rows: np.ndarray) -> np.ndarray:
        """Scores `(n, c)` float32 of documents `rows`; NaN where there is none, -1 rows among them."""

    def of_all(self, queries: Sequence[str]) -> np.ndarray:
        """Scores `(n, documents)` float32 of every document; NaN where there is none."""


def open_list_scorer(spec: ScorerSpec, collection: Collection) -> ListScorer:
    """Open a scorer of kind `bm25` or `file` on a collection.

    Raises:
        InputError: a file that is missing, broken, or of another collection; an unknown language.
        MissingExtra: bm25s is not installed.
    """
    return Bm25Scorer(spec, collection) if spec.kind == "bm25" else FileScorer(spec, collection)


class Bm25Scorer:
    """BM25 of the whole collection; a document that shares no word with a query scores 0, which is a score."""

    kind = "bm25"
    dimensions: int | None = None
    parameters: int | None = None
    bytes: int | None = None

    def __init__(self, spec: ScorerSpec, collection: Collection) -> None:
        self.name = str(spec.name)
        self.signals: frozenset[PairSignal] = frozenset({"scores"})
        self.collection = collection.fingerprint()
        if spec.language == "auto":
            drawn = drawn_to_read(collection.document_count, 0)
            self.index = bm25_for(collection.texts(), collection.texts(drawn.tolist()), k1=spec.k1, b=spec.b)
        else:
            bigrams = spec.language == "bigrams"
            self.index = Bm25Index(
                collection.texts(),
                analysis="bigrams" if bigrams else "words",
                language=None if spec.language in ("bigrams", "none") else spec.language,
                k1=spec.k1,
                b=spec.b,
            )
        settings = self.index.settings
        say(f"scorer: {self.name} reads {settings['language'] or settings['analysis']}")

    def identity(self) -> str:
        """Settings and collection."""
        return json.dumps({**self.index.settings, "collection": self.collection}, sort_keys=True)

    def of_lists(self, queries: Sequence[str], rows: np.ndarray) -> np.ndarray:
        """See `ListScorer`."""
        found = np.full(rows.shape, np.nan, dtype=np.float32)
        for number, (query, line) in enumerate(zip(queries, rows, strict=True)):
            there = line >= 0
            found[number, there] = self.index.scores(query)[line[there]]
        return found

    def of_all(self, queries: Sequence[str]) -> np.ndarray:
        """See `ListScorer`."""
        return np.stack([self.index.scores(query) for query in queries])


class FileScorer:
    """Scores of a TREC run, of tab-parted lines or of saved candidates, by the collection's own ids.

    What the file lacks has no score: it is never read as 0.
    """

    kind = "file"
    dimensions: int | None = None
    parameters: int | None = None
    bytes: int | None = None

    def __init__(self, spec: ScorerSpec, collection: Collection) -> None:
        assert spec.path is not None
        self.name, self.path, self.collection = str(spec.name), spec.path, collection
        self.signals: frozenset[PairSignal] = frozenset({"scores"})
        if not spec.path.exists():
            raise InputError(
                "there is no such file of scores", where=str(spec.path), fix="check the path of the scorer"
            )
        ids = list(collection.queries)
        self._rows, self._scores, settings = saved_ranking(
            spec.path, ids, collection.document_ids, collection.document_count
        )
        self._place = {query_id: number for number, query_id in enumerate(ids)}
        without = settings["queries_without"]
        say(
            f"scorer: {self.name} has {int((self._rows >= 0).sum()):,} scores of {len(ids) - without:,} queries;"
            f" {without:,} of the collection's queries have none"
        )
        for name in ("queries_not_asked_for", "documents_not_in_the_collection"):
            if settings.get(name):
                say(f"scorer: {self.name} has {settings[name]:,} {name.replace('_', ' ').replace('asked for', 'here')}")

    def identity(self) -> str:
        """The file's content."""
        if self.path.is_file():
            return file_digest(self.path)
        whole = hashlib.blake2b(digest_size=16)
        for path in sorted(self.path.iterdir()):
            whole.update(file_digest(path).encode())
        return whole.hexdigest()

    def rows_of(self, query_ids: Sequence[str]) -> list[np.ndarray]:
        """Documents that it has a score of, for each of these queries."""
        places = [self._place.get(name) for name in query_ids]
        none = np.empty(0, dtype=np.int64)
        return [none if place is None else self._rows[place][self._rows[place] >= 0] for place in places]

    def of_lists(self, queries: Sequence[str], rows: np.ndarray) -> np.ndarray:
        """See `ListScorer`."""
        found = np.full(rows.shape, np.nan, dtype=np.float32)
        for number, name in enumerate(query_names(self.collection, queries)):
            place = self._place.get(name)
            if place is None:
                continue
            known = self._rows[place]
            scores = dict(zip(known[known >= 0].tolist(), self._scores[place][known >= 0].tolist(), strict=True))
            found[number] = [scores.get(row, np.nan) for row in rows[number].tolist()]
        return found

    def of_all(self, queries: Sequence[str]) -> np.ndarray:
        """See `ListScorer`."""
        found = np.full((len(queries), self.collection.document_count), np.nan, dtype=np.float32)
        for number, name in enumerate(query_names(self.collection, queries)):
            place = self._place.get(name)
            if place is not None:
                known = self._rows[place] >= 0
                found[number, self._rows[place][known]] = self._scores[place][known]
        return found


def whole_scores(
    recipe: Recipe, scorers: Mapping[str, object], queries: Sequence[str], documents: int
) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What objectives on `documents: all` read of several teachers: scores of every document, for query numbers.

    Raises:
        InputError: a scorer that reads pairs, of which there are too many.
    """
    found: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    for number, spec in enumerate(recipe.objectives):
        for name in spec.teachers if spec.documents == "all" else ():
            scorer = scorers.get(name)
            if name == VECTORS:
                continue
            if not isinstance(scorer, ListScorer):
                raise InputError(
                    f"{name} reads pairs of texts: every query with every document would be too many",
                    where=f"objectives.{number}.documents",
                    fix="use documents: mined, or scorers of kind bm25 or file",
                )
            found[name] = found.get(name) or _Held(scorer, queries, documents)
    return found


class _Held:
    """A scorer's scores of every document for training queries by number, asked once and kept while there is room."""

    def __init__(self, scorer: ListScorer, queries: Sequence[str], documents: int) -> None:
        self.scorer, self.queries = scorer, queries
        room = len(queries) * documents * 4 <= _HELD_BYTES
        self.table = np.empty((len(queries), documents), dtype=np.float32) if room else None
        self.known = np.zeros(len(queries), dtype=bool)
        if not room:
            say(f"scorer: {scorer.name} is asked anew every epoch: its scores of every document would not fit")

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        if self.table is None:
            return self._asked(numbers)
        missing = np.unique(numbers[~self.known[numbers]])
        if len(missing):
            self.table[missing] = self._asked(missing)
            self.known[missing] = True
        found: np.ndarray = self.table[numbers]
        return found

    def _asked(self, numbers: np.ndarray) -> np.ndarray:
        return self.scorer.of_all([self.queries[number] for number in numbers.tolist()])
