"""Teach: judged pairs in, a teacher that reads pairs out."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..collection import Collection, open_collection
from ..errors import InputError
from ..progress import say, warn
from ..recipe import TeachSpec
from ..teachers.loading import weights_identity
from ..teachers.sentence_encoder import stored_numbers
from ..teaching.judged import Judged, judged_pairs
from ..teaching.listwise import ListwiseTask
from ..teaching.material import gather
from ..teaching.rankers import Ranker, untrained
from ..training.loop import learn
from .mined_lists import Mined, mine_lists
from .runfolder import Record, claimed

SPEC, RECORD, MODEL = "teach.yaml", "teach.json", "model"


def teach(spec: TeachSpec, out: Path, *, resume: bool = False, signals: Path | None = None) -> dict[str, Any]:
    """Train a teacher of pairs on the judgments of a collection.

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
        return _Teaching(spec, out, resume, signals).go()


class _Teaching:
    def __init__(self, spec: TeachSpec, out: Path, resume: bool, signals: Path | None) -> None:
        self.spec, self.out, self.resume, self.signals = spec, out, resume, signals
        self.record = Record(out, spec.training.seed, RECORD)

    def go(self) -> dict[str, Any]:
        spec, record = self.spec, self.record
        collection = open_collection(spec.collection)
        judged = judged_pairs(collection, spec)
        for line in collection.notes.lines():
            say(f"collection: {line}")
        for reason, count in judged.excluded.items():
            say(f"judgments: left out: {count:,} {reason}")
        with record.timed("model"):
            ranker = untrained(spec)
        with record.timed("mining"):
            mined = mine_lists(collection, judged, spec, self.signals)
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
        self.note(collection, judged, mined, ranker)
        record.data["lists"] = material.counts
        task = ListwiseTask(ranker)
        with record.timed("training"):
            result = learn(
                task,
                material.data,
                spec.training,
                self.out,
                validate=material.validation,
                resume=self.resume,
                digest=self.identity(collection),
            )
        ranker.save(self.out / MODEL)
        before, after = _validations(self.out / "metrics.jsonl", result.best_step)
        record.data["training"] = asdict(result)
        record.data["validation"] = {
            "queries": len(judged.held_out),
            "rerank": spec.rerank,
            "found": found,
            "best_possible": best,
            "before": before,
            "after": after,
        }
        if result.best_step == 0:
            self.warn("no epoch beat the untrained model: lower training.learning_rate, or give more pairs")
        elif after["nDCG@10"] <= found["nDCG@10"]:
            self.warn("re-ranking is no better than the lists as they were found")
        record.write()
        return record.data

    def identity(self, collection: Collection) -> dict[str, str]:
        """What decides the result beside the settings of training and the lists."""
        kept = self.spec.model_dump_json(exclude={"training", "collection", "base", "revision", "miner"})
        return {"settings": kept, "collection": collection.fingerprint(), "base": _weights(self.spec)}

    def note(self, collection: Collection, judged: Judged, mined: Mined, ranker: Ranker) -> None:
        count, size = stored_numbers([ranker])
        self.record.data |= {
            "kind": self.spec.kind,
            "base": {"model": self.spec.base, "weights": _weights(self.spec)},
            "collection": {
                "name": collection.name,
                "source": collection.source,
                "documents": collection.document_count,
                "fingerprint": collection.fingerprint(),
                "notes": collection.notes.lines(),
            },
            "split": self.spec.split,
            "queries": {
                "train": len(judged.train),
                "held_out": len(judged.held_out),
                "excluded": judged.excluded,
            },
            "miners": list(mined.miners),
            "mined": [asdict(provenance) for provenance in mined.negatives.provenance],
            "model": {"folder": MODEL, "parameters": count, "bytes": size, "max_length": self.spec.max_length},
        }

    def warn(self, line: str) -> None:
        self.record.data["warnings"].append(line)
        warn(line)


def _weights(spec: TeachSpec) -> str:
    return weights_identity(spec.base, spec.revision)[1] or spec.base


def _validations(path: Path, best: int | None) -> tuple[dict[str, float], dict[str, float]]:
    """The measures before the first update and at the best step."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    by_step = {line["step"]: line["validation"] for line in lines if "validation" in line}
    return _measures(by_step[0]), _measures(by_step[best or 0])


def _measures(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if name != "score"}
