from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from potstill.index.index import held_rows, unit

COUNT, WIDTH = 600, 16


@pytest.fixture(scope="session")
def vectors() -> np.ndarray:
    """600 vectors of 16 numbers, in clusters and of many lengths."""
    chance = np.random.default_rng(7)
    centres = chance.normal(size=(12, WIDTH))
    found = centres[chance.integers(12, size=COUNT)] + 0.5 * chance.normal(size=(COUNT, WIDTH))
    return (found * chance.uniform(0.5, 2.0, size=(COUNT, 1))).astype(np.float32)


@pytest.fixture(scope="session")
def asked() -> np.ndarray:
    """20 queries."""
    return np.random.default_rng(8).normal(size=(20, WIDTH)).astype(np.float32)


@pytest.fixture(scope="session")
def ids() -> list[str]:
    """Ids that are not easy: spaces, line ends, other scripts."""
    odd = ["a b", "line\nend", "tab\there", "ウイスキー", '"quoted"', "\u2028", "nul\x00"]
    return [*odd, *(f"d{number}" for number in range(COUNT - len(odd)))]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, vectors: np.ndarray, ids: list[str]):
    """A function that builds an index of these vectors once a session and gives its folder."""
    from potstill.index import build_index

    root, made = tmp_path_factory.mktemp("indexes"), {}

    def make(kind: str, metric: str = "cosine", **settings) -> Path:
        key = (kind, metric, *sorted(settings.items()))
        if key not in made:
            made[key] = root / str(len(made))
            build_index(made[key], ids, held_rows(vectors), kind=kind, metric=metric, settings=settings)
        return made[key]

    return make


def brute_force(queries: np.ndarray, vectors: np.ndarray, metric: str, k: int) -> np.ndarray:
    """Rows of the best, by float64 and a stable sort."""
    queries, vectors = queries.astype(np.float64), vectors.astype(np.float64)
    if metric == "l2":
        scores = -np.square(queries[:, None] - vectors[None]).sum(axis=2)
    else:
        scores = queries @ (unit(vectors) if metric == "cosine" else vectors).T
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


@pytest.fixture(scope="session")
def best():
    """`brute_force`, for tests."""
    return brute_force
