"""A process that fills a store with a cross-encoder's scores, slowly, so that it can be killed (run as a script)."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from potstill.recipe import ScorerSpec
from potstill.signals import SignalStore, fill, pair_text
from potstill.teachers.cross_encoder import CrossEncoderScorer

SHARD_ROWS = 20
TOKENS = 60


def texts() -> list[str]:
    return [pair_text(f"query {i % 9}", f"document {i} about bread") for i in range(120)]


class Slow(CrossEncoderScorer):
    log: Path | None = None

    def encode(self, texts: Sequence[str], role="pair") -> np.ndarray:
        scores = super().encode(texts, role)
        if self.log is not None:
            time.sleep(0.03)
            with self.log.open("a") as file:
                file.write("scored\n" * len(texts))
        return scores


def main() -> None:
    model, root, log = sys.argv[1:]
    scorer = Slow(ScorerSpec(kind="cross-encoder", model=model, device="cpu"))
    scorer.log = Path(log)
    table = SignalStore(root, "float32").vectors(scorer.fingerprint())
    fill(table, scorer, texts(), "pair", tokens_per_batch=TOKENS, shard_rows=SHARD_ROWS)


if __name__ == "__main__":
    main()
