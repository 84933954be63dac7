"""From a collection's judgments to what a generator reads and writes: tokens of documents and of queries, and pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..candidates import positive_rows
from ..collection import Collection
from ..errors import InputError
from ..recipe import TeachGeneratorSpec
from ..students.tokens import Tokens
from ..texts import whole
from .generator import WritingSet, WritingValidation
from .judged import Judged, forbidden

_PAIRS_PER_HELD_OUT = 4  # more of one query say little more, and each is read at every validation
_BLOCK = 1_024


@dataclass(frozen=True)
class WritingMaterial:
    """What a generator learns from, what validates it, `counts` of what was kept and cut, and a few held-out pairs.

    `examples` are texts: (document, query).
    """

    data: WritingSet
    validation: WritingValidation
    counts: dict[str, int]
    examples: list[tuple[str, str]]


def gather_pairs(
    collection: Collection, judged: Judged, spec: TeachGeneratorSpec, tokenizer: Any, generation: Any
) -> WritingMaterial:
    """Read the documents in question once, and tokenise both sides as the model will meet them.

    Pairs whose document has no text are left out.

    Args:
        collection: the documents and queries.
        judged: what may be learned from.
        spec: lengths, prefix and what is drawn in an epoch.
        tokenizer: the model's.
        generation: the model's generation config: how a text starts and ends.

    Raises:
        InputError: no pair is left.
    """
    if forbidden(collection) & (judged.train.keys() | judged.held_out.keys()):
        raise RuntimeError("a judgment of a test query was about to be learned from")  # `judged_pairs` sees to it
    queries = [*judged.train, *judged.held_out]
    rows, unknown = _pairs(collection, judged.train, 0, None)
    held, held_unknown = _pairs(collection, judged.held_out, len(judged.train), _PAIRS_PER_HELD_OUT)
    wanted = np.unique(np.concatenate([rows[:, 1], held[:, 1]]))
    texts = _texts(collection, wanted)
    pairs, held = (_own(part, wanted, texts) for part in (rows, held))
    without = len(rows) - len(pairs)
    if not len(pairs) or not len(held):
        raise InputError(
            "no judged pair to learn from, or none to validate by, has a document with text",
            where=f"split {spec.split}",
            fix="give a collection whose relevant documents have text",
        )
    documents = _read(tokenizer, [spec.prefix + text for text in texts], spec.max_input)
    written = _written(tokenizer, [collection.queries[i] for i in queries], spec.max_output, generation)
    data = WritingSet(documents, written, pairs, per_query=spec.positives, most=spec.pairs, seed=spec.training.seed)
    counts = {
        "pairs": len(pairs),
        "epoch_pairs": len(data),
        "held_out_pairs": len(held),
        "without_text": without,
        "unknown_documents": unknown + held_unknown,
        "documents_cut": documents.truncated,
        "queries_cut": written.truncated,
    }
    shown = held[:: max(1, len(held) // 3)][:3]
    examples = [(texts[document], collection.queries[queries[query]]) for query, document in shown.tolist()]
    return WritingMaterial(data, WritingValidation(WritingSet(documents, written, held)), counts, examples)


def _pairs(
    collection: Collection, judged: Mapping[str, Sequence[str]], first: int, most: int | None
) -> tuple[np.ndarray, int]:
    """(query, row of document) of all judgments, the queries numbered from `first`; and how many rows are unknown."""
    positives, unknown = positive_rows(list(judged), collection.document_ids, judged)
    found = [(first + number, row) for number, rows in enumerate(positives) for row in rows[:most].tolist()]
    return np.array(found, dtype=np.int64).reshape(-1, 2), unknown


def _texts(collection: Collection, wanted: np.ndarray) -> list[str]:
    rows = set(wanted.tolist())
    return [document.full for number, document in enumerate(collection.documents()) if number in rows]


def _own(pairs: np.ndarray, wanted: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Pairs with documents numbered as `texts` are; those without a text go."""
    numbered = np.stack([pairs[:, 0], np.searchsorted(wanted, pairs[:, 1])], axis=1)
    there = np.array([bool(texts[document].strip()) for document in numbered[:, 1].tolist()], dtype=bool)
    return np.asarray(numbered[there])


def _read(tokenizer: Any, texts: Sequence[str], most: int) -> Tokens:
    """Tokens of what is read, special ones and all, cut as `Seq2Seq` cuts them."""
    ids, cut = [], 0
    for start in range(0, len(texts), _BLOCK):
        block = [whole(text) for text in texts[start : start + _BLOCK]]
        cut += sum(len(one) > most for one in tokenizer(block, truncation=False, verbose=False)["input_ids"])
        ids += tokenizer(block, truncation=True, max_length=most)["input_ids"]
    return Tokens.of(ids, truncated=cut)


def _written(tokenizer: Any, texts: Sequence[str], most: int, generation: Any) -> Tokens:
    """Tokens of what is to be written: without the one that starts every text, and with the one that ends it."""
    start, end = generation.decoder_start_token_id, generation.eos_token_id
    end = end[0] if isinstance(end, list) else end
    found, cut = [], 0
    for ids in tokenizer([whole(text) for text in texts], truncation=False, verbose=False)["input_ids"]:
        own = ids[1:] if ids and ids[0] == start else ids
        own = own[:-1] if own and own[-1] == end else own
        cut += len(own) >= most
        found.append([*own[: most - 1], end])
    return Tokens.of(found, truncated=cut)
