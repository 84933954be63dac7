"""BM25 over a collection (bm25s, the variant of Lucene): English by default, and languages written without spaces."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np

from ..errors import InputError, MissingExtra
from ..texts import normalise
from .nearest import from_sort_keys, sort_keys

Analysis = Literal["words", "bigrams"]

WORD = re.compile(r"(?u)\b\w\w+\b")
# Thai vowel signs are not word characters to `re`.
_RUN = re.compile(r"[\w\u0e00-\u0e7f]+")
# Scripts written without spaces: Thai, Kana, Han.
UNSPACED = re.compile(
    "[\u0e00-\u0e7f\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]"
)


class Bm25Index:
    """An index in memory; `search` finds documents by words.

    Args:
        documents: full texts in the order of the collection, looked at once.
        analysis: "words" of two characters and more, without stop words and stemmed; "bigrams" for Japanese, Chinese
            and Thai: pairs of neighbouring characters (words of other scripts stay whole), no stop words, no stemming.
        language: of the stop words and of the Snowball stemmer, e.g. "english", "german"; None for neither.
        k1: how soon repeats of a word stop counting.
        b: how much long documents are held back.
    """

    def __init__(
        self,
        documents: Iterable[str],
        *,
        analysis: Analysis = "words",
        language: str | None = "english",
        k1: float = 0.9,
        b: float = 0.4,
    ) -> None:
        try:
            import bm25s
        except ImportError:
            raise MissingExtra("bm25s", "train") from None
        self.settings: dict[str, Any] = {
            "method": "lucene",
            "k1": k1,
            "b": b,
            "analysis": analysis,
            "language": language if analysis == "words" else None,
        }
        self._analyse = _word_analyser(language) if analysis == "words" else _bigrams
        self._vocabulary: dict[str, int] = {}
        ids = [[self._vocabulary.setdefault(t, len(self._vocabulary)) for t in self._analyse(d)] for d in documents]
        self.documents = len(ids)
        self._index = bm25s.BM25(method="lucene", k1=k1, b=b)
        if self._vocabulary:
            # A copy: the index adds an entry of its own.
            self._index.index((ids, dict(self._vocabulary)), show_progress=False)

    def scores(self, text: str) -> np.ndarray:
        """(documents,) float32 scores of one query; 0 where no word is shared."""
        words = [self._vocabulary[word] for word in self._analyse(text) if word in self._vocabulary]
        if not words:
            return np.zeros(self.documents, dtype=np.float32)
        return np.asarray(self._index.get_scores_from_ids(words), dtype=np.float32)

    def search(
        self, texts: Sequence[str], k: int, *, exclude: Sequence[np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the `k` best documents of every query among those that share a word with it; ties to the lower row.

        Args:
            texts: n queries.
            k: documents a query.
            exclude: for each query, rows that must not be found.

        Returns:
            (n, k) int64 rows and (n, k) float32 scores, best first; -1 and -inf where there are fewer than `k`.
        """
        import torch

        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        if exclude is not None and len(exclude) != len(texts):
            raise ValueError(f"exclude names rows for {len(exclude)} queries, but there are {len(texts)}")
        rows = np.full((len(texts), k), -1, dtype=np.int64)
        found = np.full((len(texts), k), -np.inf, dtype=np.float32)
        for i, text in enumerate(texts):
            scores = self.scores(text)
            if exclude is not None:
                scores[exclude[i]] = 0.0
            sharing = np.flatnonzero(scores > 0)
            keys = sort_keys(torch.from_numpy(scores[sharing]).unsqueeze(0))
            best, values = from_sort_keys(keys.topk(min(k, len(sharing)), dim=1).values)
            rows[i, : best.shape[1]], found[i, : best.shape[1]] = sharing[best[0]], values[0]
        return rows, found


def _word_analyser(language: str | None) -> Callable[[str], list[str]]:
    if language is None:
        return lambda text: WORD.findall(text.lower())
    import Stemmer

    lists = stop_words()
    skipped = lists.get(language)
    if skipped is None:
        raise InputError(
            f"no stop words or no stemmer for the language {language!r}",
            where="BM25",
            fix=f"use one of {', '.join(lists)}; or language None, or analysis bigrams",
        )
    stemmer = Stemmer.Stemmer(language)
    stems: dict[str, str] = {}

    def stem(word: str) -> str:
        if word not in stems:
            stems[word] = stemmer.stemWord(word)
        return stems[word]

    return lambda text: [stem(word) for word in WORD.findall(text.lower()) if word not in skipped]


def stop_words() -> dict[str, frozenset[str]]:
    """Stop words of each language that has a stemmer too, by the stemmer's name."""
    try:
        import Stemmer
        from bm25s import stopwords
    except ImportError:
        raise MissingExtra("bm25s or PyStemmer", "train") from None

    lists = {name: getattr(stopwords, f"STOPWORDS_{name.upper()}", None) for name in Stemmer.algorithms()}
    lists["english"] = stopwords.STOPWORDS_EN
    return {name: frozenset(words) for name, words in lists.items() if words}


def _bigrams(text: str) -> list[str]:
    """Pairs of neighbouring characters of each run that holds an unspaced script, its digits too; other runs whole."""
    tokens: list[str] = []
    for run in _RUN.findall(normalise(text)):
        if len(run) < 3 or not UNSPACED.search(run):
            tokens.append(run)
        else:
            tokens.extend(run[i : i + 2] for i in range(len(run) - 1))
    return tokens
