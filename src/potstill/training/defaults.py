"""The loop's settings for each kind of student, and of teacher that is trained: the one table to tune."""

from __future__ import annotations

from dataclasses import dataclass

from ..recipe import TrainingSpec


@dataclass(frozen=True)
class Defaults:
    """Settings that depend on the kind of what is trained.

    `learning_rate` is that of tables where the student has some, else of all parameters; `dense_factor` times it is
    that of the other parameters of a student with tables (its head). `max_texts_per_batch` counts rows: lists, for a
    teacher that is trained on lists.
    """

    learning_rate: float
    epochs: int
    tokens_per_batch: int
    max_texts_per_batch: int
    dense_factor: float = 1.0


DEFAULTS = {
    "static": Defaults(
        learning_rate=0.15, epochs=4, tokens_per_batch=16_384, max_texts_per_batch=512, dense_factor=0.05
    ),
    "layers": Defaults(learning_rate=3e-4, epochs=3, tokens_per_batch=4_096, max_texts_per_batch=256),
    "tiny": Defaults(learning_rate=1e-3, epochs=10, tokens_per_batch=4_096, max_texts_per_batch=256),
    "model": Defaults(learning_rate=2e-4, epochs=3, tokens_per_batch=4_096, max_texts_per_batch=256),
    "cross-encoder": Defaults(learning_rate=5e-5, epochs=2, tokens_per_batch=8_192, max_texts_per_batch=16),
    "dual-pooled": Defaults(learning_rate=5e-5, epochs=2, tokens_per_batch=8_192, max_texts_per_batch=16),
    "dual-encoder": Defaults(learning_rate=5e-5, epochs=2, tokens_per_batch=16_384, max_texts_per_batch=32),
    "late-interaction": Defaults(learning_rate=5e-5, epochs=2, tokens_per_batch=16_384, max_texts_per_batch=32),
    "ranker": Defaults(learning_rate=5e-4, epochs=8, tokens_per_batch=16_384, max_texts_per_batch=32),
    "generator": Defaults(learning_rate=3e-4, epochs=3, tokens_per_batch=8_192, max_texts_per_batch=32),
}


def resolved(spec: TrainingSpec, kind: str) -> TrainingSpec:
    """A copy of the spec with every None that a default exists for filled in."""
    defaults = DEFAULTS[kind]
    names = ("learning_rate", "epochs", "tokens_per_batch", "max_texts_per_batch")
    return spec.model_copy(update={name: getattr(defaults, name) for name in names if getattr(spec, name) is None})
