"""Temperatures of teachers that are heard on every document: found without labels, on some training queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import InputError
from ..objectives import calibrate_temperature
from ..recipe import ObjectiveSpec

if TYPE_CHECKING:
    from ..training.data import TrainingSet
    from ..training.task import Task

_QUERIES = 256


def of_all(
    objectives: Sequence[ObjectiveSpec], task: Task, data: TrainingSet
) -> tuple[tuple[ObjectiveSpec, ...], list[str]]:
    """The objectives with the temperatures that those on `documents: all` left open, and what to tell of them.

    Where scores are standardised one temperature serves all teachers, found for their (weighted) mean; else each
    teacher has its own.

    Raises:
        InputError: so many effective documents cannot be had.
    """
    from ..training.documents import candidates
    from ..training.terms import VoteTerm

    found, told = [], []
    for number, (spec, term) in enumerate(zip(objectives, task.terms, strict=False)):
        if not spec.teachers or spec.documents != "all" or spec.vote.temperatures:
            found.append(spec)
            continue
        assert isinstance(term, VoteTerm)
        queries = np.random.default_rng([task.seed, 5]).permutation(data.queries)[:_QUERIES]
        plain = replace(term, temperatures=(1.0,) * len(term.teachers))
        chosen = candidates(plain, data, queries, np.full(len(queries), -1), np.random.default_rng(0))
        chosen.load(data, torch.device("cpu"), None)
        vectors = torch.from_numpy(data.query_targets.gather(queries))
        _, heard, present = chosen.ballot(plain, vectors, vectors, None, cosine=task.metric == "cosine")
        try:
            if spec.vote.zscore:
                count = present.sum(dim=0).clamp(min=1)
                scores = [(torch.where(present, heard, 0.0).sum(dim=0) / count, present.any(dim=0))]
            else:
                scores = list(zip(heard, present, strict=True))
            got = [calibrate_temperature(said, spec.vote.perplexity, there).temperature for said, there in scores]
        except ValueError as error:
            raise InputError(
                str(error), where=f"objectives.{number}.vote.perplexity", fix="set one in reach, or vote.temperatures"
            ) from None
        temperatures = tuple(got) * (len(term.teachers) if spec.vote.zscore else 1)
        vote = spec.vote.model_copy(update={"temperatures": temperatures})
        found.append(spec.model_copy(update={"vote": vote}))
        shown = ", ".join(f"{name} {each:.4g}" for name, each in zip(term.teachers, temperatures, strict=True))
        told.append(f"{term.name}: temperatures {shown}, for {spec.vote.perplexity:g} effective documents")
    return tuple(found), told
