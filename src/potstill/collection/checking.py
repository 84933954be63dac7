"""The one pass over a collection that finds every mistake before work starts."""

from __future__ import annotations

import hashlib
from array import array
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ..errors import InputError
from ..progress import Meter, meter
from ..texts import digest
from .ids import Ids
from .notes import EXAMPLES, CollectionNotes
from .records import Document, Judgment, Qrels, Table, read_documents, read_judgments, read_queries
from .source import Source

_BLOCK = 50_000


@dataclass(frozen=True)
class Checked:
    """What is held of a checked collection: everything but its documents' texts."""

    ids: Ids
    queries: dict[str, str]
    qrels: dict[str, Qrels]
    notes: CollectionNotes
    fingerprint: str


def check(source: Source) -> Checked:
    """Read everything once, in order.

    Raises:
        InputError: the first row that cannot be read, a repeated id, judgments that contradict each other or have no
            queries, a split in which no query has a relevant document, or a corpus without documents.
    """
    notes = CollectionNotes()
    hasher = hashlib.blake2b(digest_size=16)
    for name in source.unread:
        notes.add("unread_files", name)
    if source.judgments and not source.queries:
        raise InputError(
            f"there are judgments ({', '.join(source.judgments)}) and no queries",
            where=source.address,
            fix="add queries.jsonl with the `_id` and `text` of every judged query, or remove the folder qrels",
        )
    # Small files first: a mistake there need not wait for the corpus to be read.
    queries = _check_queries(source, notes)
    judged = {split: list(read_judgments(table)) for split, table in source.judgments.items()}
    ids = _check_corpus(source, notes, hasher)
    for name, text in queries.items():
        hasher.update(b"q" + name.encode("utf-8", "surrogatepass") + b"\0" + digest(text))
    qrels = {}
    for split, rows in judged.items():
        qrels[split] = _check_judgments(split, source.judgments[split], rows, ids, queries, notes)
        hasher.update(repr((split, qrels[split])).encode("utf-8", "surrogatepass"))
    if qrels:
        seen = set().union(*qrels.values())
        for name in queries:
            if name not in seen:
                notes.add("unjudged_queries", name)
    return Checked(ids, queries, qrels, notes, hasher.hexdigest())


def _check_corpus(source: Source, notes: CollectionNotes, hasher: hashlib.blake2b) -> Ids:
    ids = Ids()
    texts = array("Q")
    with ExitStack() as stack:
        bar: Meter | None = None
        for _, _, document in read_documents(source.corpus):
            _look(document, ids, texts, notes, hasher)
            if len(ids) % _BLOCK == 0:
                bar = bar or stack.enter_context(meter(f"checking {source.name}", unit="documents"))
                bar.advance(_BLOCK)
    if not len(ids):
        raise InputError("the corpus holds no documents", where=source.address, fix="check that the file is whole")
    if (repeat := ids.first_repeat()) is not None:
        first, second = (_document_place(source, row) for row in repeat)
        raise _repeated("document", ids[repeat[0]], first, second)
    notes.documents = len(ids)
    _count_shared(ids, np.frombuffer(texts, dtype=np.uint64), notes)
    return ids


def _look(document: Document, ids: Ids, texts: array[int], notes: CollectionNotes, hasher: hashlib.blake2b) -> None:
    full = document.full
    notes.characters += len(full)
    if not full:
        notes.add("empty_documents", document.id)
    if "\ufffd" in full:
        notes.add("replacement_characters", document.id)
    ids.append(document.id)
    key = digest(full)
    # Empty documents share nothing: each gets a key of its own.
    texts.append(int.from_bytes(key[:8], "little") if full else len(texts))
    hasher.update(b"d%b\0%d\0%b" % (document.id.encode("utf-8", "surrogatepass"), len(document.title), key))


def _count_shared(ids: Ids, keys: np.ndarray, notes: CollectionNotes) -> None:
    """Count documents whose text an earlier one has, by 64-bit keys: at ten million texts, p = 3e-6 of an error."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    repeats = np.sort(order[1:][ordered[1:] == ordered[:-1]])
    for row in repeats[:EXAMPLES].tolist():
        notes.add("shared_texts", ids[row])
    if len(repeats) > EXAMPLES:
        notes.add("shared_texts", "", count=len(repeats) - EXAMPLES)


def _check_queries(source: Source, notes: CollectionNotes) -> dict[str, str]:
    queries: dict[str, str] = {}
    for table, row, name, text in read_queries(source.queries):
        if name in queries:
            places = (t.where(r) for t, r, other, _ in read_queries(source.queries) if other == name)
            raise _repeated("query", name, next(places), table.where(row))
        if not text.strip():
            notes.add("empty_queries", name)
        queries[name] = text
    notes.queries = len(queries)
    return queries


def _check_judgments(
    split: str,
    table: Table,
    rows: list[tuple[int, Judgment]],
    ids: Ids,
    queries: dict[str, str],
    notes: CollectionNotes,
) -> Qrels:
    judged = list({judgment.document for _, judgment in rows})
    known = {name for name, row in zip(judged, ids.rows(judged).tolist(), strict=True) if row >= 0}
    qrels: Qrels = {}
    for row, (query, document, grade) in rows:
        if query not in queries:
            notes.add("unknown_queries", query, split=split)
        elif document not in known:
            notes.add("missing_documents", document, split=split)
        else:
            graded = qrels.setdefault(query, {})
            held = graded.get(document)
            graded[document] = grade
            if held == grade:
                notes.add("repeated_judgments", f"{query} {document}", split=split)
            elif held is not None:
                first = next(r for r, (q, d, _) in rows if (q, d) == (query, document))
                raise InputError(
                    f"query {query} and document {document} are judged {grade} here and {held} at {table.where(first)}",
                    where=table.where(row),
                    fix="keep one of the two",
                )
    for query, graded in qrels.items():
        if max(graded.values()) <= 0:
            notes.add("no_relevant_document", query, split=split)
    if notes.count("no_relevant_document", split) == len(qrels):
        raise _nothing_to_measure(split, table, len(rows), notes)
    notes.judgments[split] = sum(len(graded) for graded in qrels.values())
    return qrels


def _nothing_to_measure(split: str, table: Table, rows: int, notes: CollectionNotes) -> InputError:
    dropped = [finding.line() for finding in notes.findings if finding.split == split]
    because = "; ".join([f"{rows:,} judgments read", *dropped])
    return InputError(
        f"no query of the split {split} has a relevant document ({because})",
        where=table.where(1),
        fix="the ids must be those of the queries and the corpus, grades above 0 mean relevant; or remove the split",
    )


def _document_place(source: Source, row: int) -> str:
    table, number, _ = next(islice(read_documents(source.corpus), row, None))
    return table.where(number)


def _repeated(what: str, name: str, first: str, second: str) -> InputError:
    return InputError(
        f"the {what} id {name!r} was used before, at {first}",
        where=second,
        fix="give each its own id, or remove one of the two",
    )
