"""What a task asks of its data, seen before the first step."""

from __future__ import annotations

from ..errors import InputError
from ..objectives.prefixes import AtPrefixes
from ..recipe import VECTORS
from .data import TrainingSet
from .layer_terms import LayerTerm
from .relation_terms import RelationTerm
from .task import Task
from .terms import VoteTerm


def check(task: Task, data: TrainingSet) -> None:
    """See that the data has what the task's terms need.

    Raises:
        InputError: names the objective and what it lacks.
    """
    if len(data) == 0:
        raise InputError(
            "there is no text to train on", where="training", fix="give queries, or documents to draw from"
        )
    width = data.query_targets.dimensions
    for role, tower in task.towers.items():
        if tower.dimensions != width:
            raise InputError(
                f"the student's {role} vectors have {tower.dimensions} dimensions, the teacher's {width}",
                where="student",
                fix="give the student a head of the teacher's width",
            )
    encodes = task.document_tower is not None
    if encodes and (data.documents is None or data.document_tokens is None):
        raise InputError(
            f"{task.mode} towers encode documents, and there are none", where="towers", fix="use towers: asymmetric"
        )
    for match in task.match_terms:
        if match.teacher is not None and not encodes:
            raise InputError(
                "a student that searches the teacher's own index must stay in its space, which a cross-encoder's "
                "vectors are not in",
                where=match.name,
                fix="use towers: shared or separate, or match the teacher of vectors",
            )
        if match.role == "query" or match.teacher is not None:
            continue
        if not encodes:
            raise InputError(
                "documents are the teacher's own with asymmetric towers: there is nothing to match",
                where=match.name,
                fix="use role: query, or towers: shared or separate",
            )
        if len(data.trained_documents) == 0:
            raise InputError("no documents are chosen to be matched", where=match.name, fix="use role: query")
    for relation in task.relations.terms:
        _check_relation(data, relation, encodes)
    if not encodes and not any(term.objective.alignment != "never" for term in task.terms):
        raise InputError(
            "nothing here keeps the student in the teacher's space, whose index it is to search: "
            + ", ".join(term.name for term in task.terms),
            where="objectives",
            fix="add match:l2 or relations:bank, or use towers: shared or separate",
        )
    for layers in task.layer_terms:
        _check_layers(task, layers)
    for term in task.comparing_terms:
        if data.documents is None or len(data.documents) == 0:
            raise InputError(
                "scores need document vectors of the teacher", where=term.name, fix="use an objective that matches"
            )
        if data.documents.dimensions != width:
            raise InputError(
                f"the teacher's document vectors have {data.documents.dimensions} dimensions, its queries' {width}",
                where="teacher",
                fix="use one teacher for both",
            )
        if term.documents == "all" and encodes:
            raise InputError(
                "the student would have to encode every document at every step",
                where=term.name,
                fix="use documents: batch, sample or mined, or towers: asymmetric",
            )
        judged = data.positives is not None and bool((data.positives >= 0).any())
        if (term.objective.needs_positives or term.keep_wrong is not None) and not judged:
            raise InputError(
                "no training query has a document that it was judged to fit",
                where=term.name,
                fix="name a split to learn from, queries.judgments: train, or leave this objective out",
            )
        if term.documents in ("mined", "pooled") and data.mined is not None:
            most, least = min(term.count, data.mined.shape[1]), term.objective.minimum_candidates
            if most < least:
                raise InputError(
                    f"lists of {most} documents teach nothing: {term.objective.family}:{term.objective.form} takes at "
                    f"least {least}",
                    where=term.name,
                    fix="raise the objective's count, or candidates.count",
                )
        if term.live and not encodes:
            raise InputError(
                "a teacher that is read while the student trains needs a student that encodes documents too",
                where=term.name,
                fix="use towers: shared or separate",
            )
        heard = term.teachers if isinstance(term, VoteTerm) else (term.teacher,)
        known = data.whole if isinstance(term, VoteTerm) and term.documents == "all" else data.pair_scores
        for name in heard:
            if name not in (None, VECTORS, *known) and not term.live:
                raise InputError(f"there are no scores of {name}", where=term.name, fix="name it among the scorers")
        sourced = data.sources is not None and bool((data.sources >= 0).any())
        if term.documents == "batch" and not (sourced or judged):
            raise InputError(
                "no query has a document that it came from", where=term.name, fix="use documents: sample, mined or all"
            )
        if term.documents in ("mined", "pooled") and (data.mined is None or not (data.mined >= 0).any()):
            raise InputError("no documents were mined", where=term.name, fix="use documents: sample, batch or all")
    for each in task.terms:
        prefixes = each.objective.prefixes if isinstance(each.objective, AtPrefixes) else ()
        if any(prefix > width for prefix in prefixes):
            raise InputError(
                f"prefixes {list(prefixes)} go beyond the teacher's {width} dimensions",
                where=each.name,
                fix=f"give widths below {width}",
            )


def _check_relation(data: TrainingSet, term: RelationTerm, encodes: bool) -> None:
    """See that a relation's texts are encoded, and that there is something to relate them to."""
    if term.role != "query" and not encodes:
        raise InputError(
            "documents are the teacher's own with asymmetric towers: the student makes no vectors of them to relate",
            where=term.name,
            fix="use role: query, or towers: shared or separate",
        )
    documents = 0 if data.documents is None else len(data.documents)
    if term.rows in ("all", "store", "centroids", "partner") and not documents:
        raise InputError("there are no documents to relate texts to", where=term.name, fix="use bank.rows: queue")
    judged = data.positives is not None and bool((data.positives >= 0).any())
    sourced = data.sources is not None and bool((data.sources >= 0).any())
    if term.rows == "partner" and not (judged or sourced):
        raise InputError(
            "no query has a document that it came from or was judged to fit",
            where=term.name,
            fix="name a split to learn from, queries.judgments: train, or leave this objective out",
        )


def _check_layers(task: Task, term: LayerTerm) -> None:
    """See that a student has blocks, and enough of them for the pairs that are asked for."""
    depth = min(tower.depth for tower in task.towers.values())
    if not depth:
        raise InputError(
            f"a {task.kind} student has no layers to align",
            where=term.name,
            fix="use a student of kind layers, tiny or model, or leave the layers objective out",
        )
    if task.document_tower is None:
        raise InputError(
            "layers rank documents that the student encodes itself, and asymmetric towers encode none",
            where=term.name,
            fix="use towers: shared or separate",
        )
    deep = task.ranked.rankers[term.teacher].depth if term.teacher is not None else None
    most = depth if deep is None else min(depth, deep)
    if term.spec.count is not None and term.spec.count > most:
        raise InputError(
            f"{term.spec.count} pairs of layers are asked for, and there are {most}",
            where=f"{term.name}: layers.count",
            fix=f"give at most {most}, or leave it out",
        )
