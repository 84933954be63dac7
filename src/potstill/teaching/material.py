"""From a collection and what was mined in it to what training and validation read: texts as tokens, lists as rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..candidates import Candidates, positive_rows
from ..collection import Collection
from ..errors import InputError
from ..recipe import TeachSpec
from ..students.tokens import Tokens
from ..teachers.pair_tokens import PairTokenizer
from ..texts import digest
from .apart import ApartTokenizer
from .contrastive import RetrieverValidation
from .judged import Judged, forbidden
from .lists import TeachingSet
from .validation import Validation

_BLOCK = 4096


@dataclass(frozen=True)
class Material:
    """What a ranker learns from, what validates it, and `counts` of what was kept, left out and cut."""

    data: TeachingSet
    validation: Validation
    counts: dict[str, int]

    def lines(self) -> list[str]:
        """What to tell people."""
        counts = self.counts
        told = [
            f"{counts[name]:,} {what}"
            for name, what in (
                ("positives_unknown", "judged pairs left out: the document is not in the collection"),
                ("positives_not_met", "judged pairs left out: no miner finds the document among its best"),
                ("positives_without_text", "judged pairs left out: the document has no text"),
                ("pairs_without_negatives", "judged pairs left out: no negative was found for the query"),
                ("twins", "mined negatives left out: they have the text of a positive"),
            )
            if counts[name]
        ]
        told.append(
            f"{counts['lists']:,} an epoch, of {counts['pairs']:,} judged pairs; up to {self.data.count} negatives "
            f"each, of {counts['negatives_mined']:,} mined"
        )
        if counts["documents_cut"] or counts["queries_cut"]:
            told.append(
                f"of the first epoch's {counts['epoch_pairs']:,} pairs {counts['documents_cut']:,} have their document "
                f"cut at {self.data.pairs.max_length} tokens, {counts['queries_cut']:,} their query"
            )
        return told


def gather(
    collection: Collection,
    judged: Judged,
    negatives: Candidates,
    lists: Candidates,
    met: np.ndarray | None,
    spec: TeachSpec,
    pairs: PairTokenizer | ApartTokenizer,
) -> Material:
    """Read the documents in question once, and put everything under rows of its own.

    Left out are pairs whose document has no text, negatives that have the text of a positive of their query, and pairs
    without a negative.

    Args:
        collection: the documents and queries.
        judged: what may be learned from.
        negatives: mined for `judged.train`, in its order.
        lists: found for `judged.held_out`, in its order.
        met: `(q, c)` rows of the documents among which a positive must be to make a list; None: any will do.
        spec: how lists are made.
        pairs: the model's tokenizer.

    Raises:
        InputError: no list is left.
    """
    if forbidden(collection) & (judged.train.keys() | judged.held_out.keys()):
        raise RuntimeError("a judgment of a test query was about to be learned from")  # `judged_pairs` sees to it
    train, held_out = list(judged.train), list(judged.held_out)
    positives, unknown = positive_rows(train, collection.document_ids, judged.train)
    slots = np.array([(q, d) for q, rows in enumerate(positives) for d in rows.tolist()], np.int64).reshape(-1, 2)
    reached = np.ones(len(slots), dtype=bool)
    if met is not None:
        found = np.arange(len(met))[:, None] * collection.document_count + met
        reached = np.isin(slots[:, 0] * collection.document_count + slots[:, 1], found[met >= 0])
    rows = np.concatenate([slots[:, 1], negatives.rows.ravel(), lists.rows.ravel()])
    texts = _read(collection, pairs, np.unique(rows[rows >= 0]))
    slots[:, 1] = texts.own(slots[:, 1])
    mined, twins = _without_twins(texts.own(negatives.rows), slots, texts.digests)
    empty = np.array([texts.digests[document] is None for document in slots[:, 1].tolist()], dtype=bool)
    with_negatives = np.asarray((mined >= 0).any(axis=1))
    alone = ~with_negatives[slots[:, 0]] & ~empty & reached
    kept = slots[~empty & ~alone & reached]
    if not len(kept):
        raise InputError(
            f"no judged pair has both a document with text that was found and a negative (of {len(slots):,})",
            where=f"split {spec.split}",
            fix="look deeper (--depth), or at all positives (--set within_depth=false), or give another --miner: bm25 "
            "finds only documents that share a word with the query",
        )
    data = TeachingSet(
        packed(pairs.ids([collection.queries[query] for query in train])),
        texts.tokens,
        pairs,
        kept,
        mined,
        spec.negatives,
        per_query=spec.positives,
        most=spec.lists,
        seed=spec.training.seed,
    )
    kind = RetrieverValidation if spec.apart else Validation
    validation = kind(
        held_out,
        packed(pairs.ids([collection.queries[query] for query in held_out])),
        texts.tokens,
        pairs,
        texts.own(lists.rows),
        texts.names,
        judged.grades,
        bf16=spec.training.bf16 is True,
    )
    counts = {
        "pairs": len(kept),
        "queries": len(np.unique(kept[:, 0])),
        "positives_unknown": unknown,
        "positives_not_met": int((~reached & ~empty).sum()),
        "positives_without_text": int(empty.sum()),
        "pairs_without_negatives": int(alone.sum()),
        "twins": twins,
        **_first_epoch(data),
    }
    return Material(data, validation, counts)


@dataclass(frozen=True)
class _Texts:
    """All documents in question.

    Attributes:
        rows: `(n,)` their rows in the collection, rising.
        tokens: of each, uncut.
        names: their ids.
        digests: of their texts; None for one without text.
    """

    rows: np.ndarray
    tokens: Tokens
    names: list[str]
    digests: list[bytes | None]

    def own(self, rows: np.ndarray) -> np.ndarray:
        """Rows of the collection as rows of ours; -1 stays -1."""
        return np.where(rows < 0, -1, np.searchsorted(self.rows, rows))


def _read(collection: Collection, pairs: PairTokenizer | ApartTokenizer, rows: np.ndarray) -> _Texts:
    wanted = set(rows.tolist())
    ids: list[np.ndarray] = []
    names: list[str] = []
    digests: list[bytes | None] = []
    block: list[str] = []
    for row, document in enumerate(collection.documents()):
        if row not in wanted:
            continue
        names.append(document.id)
        digests.append(digest(document.full) if document.full.strip() else None)
        block.append(document.full)
        if len(block) == _BLOCK:
            ids += pairs.ids(block)
            block.clear()
    return _Texts(rows, packed([*ids, *pairs.ids(block)]), names, digests)


def packed(ids: list[np.ndarray]) -> Tokens:
    """Tokens of texts, one after another."""
    offsets = np.zeros(len(ids) + 1, dtype=np.int64)
    np.cumsum([len(one) for one in ids], out=offsets[1:])
    return Tokens(np.concatenate([*ids, np.empty(0, dtype=np.int32)]), offsets)


def _without_twins(negatives: np.ndarray, slots: np.ndarray, digests: list[bytes | None]) -> tuple[np.ndarray, int]:
    """The negatives `(q, c)` without those that have the text of one of their query's positives, and their number."""
    numbers: dict[bytes | None, int] = {}
    texts = np.array([numbers.setdefault(one, len(numbers)) for one in digests], dtype=np.int64)
    known = slots[:, 0] * len(numbers) + texts[slots[:, 1]]
    found = np.arange(len(negatives))[:, None] * len(numbers) + texts[negatives]
    twins = (negatives >= 0) & np.isin(found, known)
    return np.where(twins, -1, negatives), int(twins.sum())


def _first_epoch(data: TeachingSet) -> dict[str, int]:
    """What an epoch holds, and how much of it is cut."""
    lists = data.drawn(0)
    there = lists.documents >= 0
    queries = np.repeat(data.queries.lengths[lists.queries, None], there.shape[1], axis=1)[there]
    documents = data.documents.lengths[lists.documents[there]]
    kept_queries, kept_documents = data.pairs.fitted(queries, documents)
    return {
        "lists": len(data),
        "negatives_mined": int((data.negatives >= 0).sum()),
        "epoch_pairs": int(there.sum()),
        "documents_cut": int((kept_documents < documents).sum()),
        "queries_cut": int((kept_queries < queries).sum()),
    }
