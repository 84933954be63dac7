"""Teach: judged pairs in, a teacher out that reads pairs or encodes texts apart."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..progress import say
from ..recipe import TeachSpec
from ..teaching.contrastive import ContrastiveTask
from ..teaching.lists import TeachingSet
from ..teaching.listwise import ListwiseTask
from ..teaching.material import gather
from ..teaching.rankers import Ranker, untrained
from ..teaching.retrievers import untrained_retriever
from ..training.loop import learn
from ..training.trainable import Trainable
from .mined_lists import mine_lists
from .runfolder import Record, claimed
from .teach_record import MODEL, NONE_BETTER, RECORD, SPEC, about, identity, opened, validations


def teach(spec: TeachSpec, out: Path, *, resume: bool = False, signals: Path | None = None) -> dict[str, Any]:
    """Train a teacher on the judgments of a collection.

    Writes into `out`: `teach.yaml`, `metrics.jsonl`, `checkpoints/`, `model/` and `teach.json`.

    Args:
        spec: all that decides it.
        out: folder to write; must be new or empty unless `resume`.
        resume: go on with the run in that folder.
        signals: folder of the signal store, where the miner's vectors are kept.

    Returns:
        What `teach.json` holds.

    Raises:
        InputError: something in the input is wrong; told before work starts wherever it can be seen then.
        Interrupted: Ctrl-C; `resume` goes on.
    """
    with claimed(out, spec, resume=resume, name=SPEC):
        record = Record(out, spec.training.seed, RECORD)
        collection, judged = opened(spec)
        with record.timed("model"):
            ranker = untrained_retriever(spec) if spec.apart else untrained(spec)
        with record.timed("mining"):
            mined = mine_lists(collection, judged, spec, signals)
        with record.timed("lists"):
            material = gather(collection, judged, mined.negatives, mined.lists, mined.met, spec, ranker.pairs)
        for line in material.lines():
            say(f"lists: {line}")
        found, best = material.validation.found(), material.validation.best()
        if not best["nDCG@10"]:
            raise InputError(
                f"none of the {spec.rerank} documents found for each of the {len(judged.held_out)} held-out queries "
                "is relevant, so nothing can be seen by re-ranking them",
                where="rerank",
                fix="raise it with --set rerank=100, or name a better --miner",
            )
        record.data |= about(spec, collection, judged, ranker)
        record.data["model"]["max_length"] = spec.max_length
        record.data["miners"] = list(mined.miners)
        record.data["mined"] = [asdict(provenance) for provenance in mined.negatives.provenance]
        record.data["lists"] = material.counts
        task: Trainable[TeachingSet] = ListwiseTask(ranker) if isinstance(ranker, Ranker) else ContrastiveTask(ranker)
        with record.timed("training"):
            result = learn(
                task,
                material.data,
                spec.training,
                out,
                validate=material.validation,
                resume=resume,
                digest=identity(spec, collection, without=("miner",)),
            )
        ranker.save(out / MODEL)
        validated = validations(out / "metrics.jsonl", result.best_step)
        record.data["training"] = asdict(result)
        record.data["validation"] = {
            "queries": len(judged.held_out),
            "rerank": spec.rerank,
            "found": found,
            "best_possible": best,
            **validated,
        }
        if result.best_step == 0:
            record.warn(NONE_BETTER)
        elif validated["after"]["nDCG@10"] <= found["nDCG@10"]:
            record.warn("re-ranking is no better than the lists as they were found")
        record.write()
        return record.data
