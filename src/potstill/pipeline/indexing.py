"""Build an index from a collection and a teacher or from vectors that exist, and search it with a student."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..collection import Collection, open_collection
from ..collection.lines import read_lines
from ..errors import InputError
from ..evaluation import Rows, write_run
from ..index import Index, IndexMetric, build_index, check_plan, open_index
from ..progress import say, warn
from ..recipe import TeacherSpec
from ..students import load
from ..teachers import open_teacher
from .vectors import document_vectors


def build(
    out: Path,
    *,
    kind: str,
    collection: str | None = None,
    teacher: TeacherSpec | None = None,
    vectors: Path | None = None,
    ids: Path | None = None,
    metric: IndexMetric | None = None,
    settings: Sequence[str] | Mapping[str, Any] = (),
    signals: Path | None = None,
) -> dict[str, Any]:
    """Build an index; the teacher encodes the collection's documents, or the vectors are there already.

    Args:
        out: the folder to write.
        kind: one of `index.KINDS`.
        collection: the documents; with vectors, only the ids are compared with it.
        teacher: encodes the documents; what the signal store holds is not encoded again.
        vectors: vectors in any form that `index.open_index` reads.
        ids: their ids, where these are in a file of their own.
        metric: None: the teacher's, or what the vectors are used with now.
        settings: `name=value` of the kind.
        signals: folder of the signal store.

    Returns:
        What `index.json` says.

    Raises:
        InputError: not one of teacher and vectors, and all that is wrong with them.
    """
    if (teacher is None) == (vectors is None):
        raise InputError(
            "an index is built from a teacher or from vectors",
            where="--teacher, --vectors",
            fix="give one of the two: --collection C --teacher T, or --vectors FILE",
        )
    if teacher is not None and ids is not None:
        raise InputError("ids belong to a file of vectors", where="--ids", fix="leave it out, or give --vectors")
    opened = open_collection(collection) if collection is not None else None
    about: dict[str, Any] = {}
    if opened is not None:
        about["collection"] = {"source": opened.source, "fingerprint": opened.fingerprint()}
    if vectors is not None:
        source = open_index(vectors, ids=ids, metric=metric)
        if source.lossy:
            warn(f"{vectors}: a {source.kind} gives back approximations of its vectors, and these are what is indexed")
        about["vectors"] = {"path": str(vectors), "kind": source.kind, "lossy": source.lossy}
        if opened is not None:
            _tell_strangers(source, opened)
        return build_index(
            out, source.ids, source.vectors(), kind=kind, metric=metric or source.metric, settings=settings, about=about
        )
    if opened is None or teacher is None:
        raise InputError("there are no documents to encode", where="--collection", fix="give --collection C")
    model = open_teacher(teacher)
    check_plan(out, kind, metric or model.metric, settings, opened.document_count, model.dimensions)
    found = document_vectors(model, opened, signals)
    if found.texts_cut:
        say(f"the teacher cut {found.texts_cut:,} of {len(found):,} documents at its maximum length")
    identity = model.fingerprint("document")
    about["teacher"] = {"name": model.name, "digest": identity.digest(), "fingerprint": identity.as_dict()}
    return build_index(
        out,
        list(opened.document_ids),
        Rows(found.table, found.rows),
        kind=kind,
        metric=metric or model.metric,
        settings=settings,
        about=about,
    )


def search(
    index: Path,
    student: str,
    queries: Mapping[str, str],
    *,
    k: int = 10,
    effort: int | None = None,
    collection: str | None = None,
    ids: Path | None = None,
    metric: IndexMetric | None = None,
    run: Path | None = None,
) -> list[dict[str, Any]]:
    """Search an index with a student's queries.

    Args:
        index: anything that `index.open_index` opens.
        student: a run, a student's folder or a model id.
        queries: id -> text.
        k: documents a query.
        effort: `efSearch` or `nprobe`; None: the index's own.
        collection: where titles come from.
        ids: ids of a file of vectors.
        metric: see `index.open_index`.
        run: a TREC run to write.

    Returns:
        One mapping a query: `id`, `query` and `found`, a list of `id`, `score` and `title` (with a collection).

    Raises:
        InputError: a student of another width, an effort for an index that has none, and all that is wrong with these.
    """
    if not queries:
        raise InputError("there is nothing to search for", where="--query", fix="give --query TEXT or --queries FILE")
    pupil = load(student)
    opened = open_index(index, ids=ids, metric=metric)
    if effort is not None and opened.effort_name == "none":
        raise InputError(
            f"a {opened.kind} index is searched exhaustively and has no effort", where="--effort", fix="leave it out"
        )
    ranking = opened.search(pupil.encode_queries(list(queries.values())), k, effort)
    found = ranking.run(list(queries), opened.ids)
    if run is not None:
        write_run(run, found)
    titles = _titles(collection, {name for ranked in found.values() for name, _ in ranked}) if collection else {}
    return [
        {
            "id": query,
            "query": queries[query],
            "found": [{"id": name, "score": score, "title": titles.get(name, "")} for name, score in ranked],
        }
        for query, ranked in found.items()
    ]


def read_queries(path: Path) -> dict[str, str]:
    """Queries by id: JSON lines with `_id` or `id` and `text`, id and text parted by a tab, or a text a line.

    Texts alone are numbered by their lines, from 1. Empty lines are left out.

    Raises:
        InputError: names file and line of what cannot be read, or of an id that comes twice.
    """
    queries: dict[str, str] = {}
    for number, line in read_lines(path):
        if not line.strip():
            continue
        where, name, text = f"{path}:{number}", str(number), line.strip()
        if path.suffix in (".jsonl", ".json"):
            try:
                row = json.loads(line)
                name, text = str(row["_id"] if "_id" in row else row["id"]), row["text"]
                if not isinstance(text, str):
                    raise TypeError("text is no string")
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"no query: {error!r}", where=where, fix='write {"_id": "q1", "text": "..."}'
                ) from None
        elif "\t" in line:
            name, text = (part.strip() for part in line.split("\t", 1))
        if name in queries:
            raise InputError(f"query {name!r} comes twice", where=where, fix="give every query an id of its own")
        queries[name] = text
    if not queries:
        raise InputError("the file holds no queries", where=str(path), fix="write one a line")
    return queries


def _titles(source: str, wanted: set[str]) -> dict[str, str]:
    """What to show of documents: the title, or how the text begins."""
    documents = open_collection(source).documents()
    return {document.id: document.title or document.text[:80] for document in documents if document.id in wanted}


def _tell_strangers(source: Index, collection: Collection) -> None:
    lacking = int((collection.document_ids.rows(list(source.ids)) < 0).sum())
    if lacking:
        warn(f"{lacking:,} of {len(source.ids):,} ids of the vectors are not in {collection.name}")
    unindexed = collection.document_count - (len(source.ids) - lacking)
    if unindexed:
        warn(f"{unindexed:,} of {collection.document_count:,} documents of {collection.name} have no vector")
