"""Toys for the training tests: towers of a few numbers, data made from them, comparisons of bytes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from potstill.recipe import ObjectiveSpec, TrainingSpec
from potstill.students.static import StaticTower
from potstill.students.tokens import Tokens
from potstill.students.tower import Tower
from potstill.training.data import ArrayVectors, TrainingSet
from potstill.training.task import Task
from potstill.training.terms import build_terms

WORDS, WIDTH = 50, 8


def static_tower(seed: int = 0, *, head: bool = False) -> StaticTower:
    """A static student of `WORDS` words; with a head its table is half as wide."""
    tokenizer = Tokenizer(WordLevel({f"w{i}": i for i in range(WORDS)}, unk_token="w0"))
    tokenizer.pre_tokenizer = Whitespace()
    random = np.random.default_rng(seed)
    width = WIDTH // 2 if head else WIDTH
    table = random.normal(size=(WORDS, width)).astype(np.float32)
    weights = random.normal(size=(WIDTH, width)).astype(np.float32) if head else None
    return StaticTower(tokenizer, table, np.ones(WORDS, np.float32), weights, normalize=True, unknown=0)


class DenseTower(Tower):
    """A student of plain parameters that pads and draws random numbers (dropout), as transformers do."""

    kind = "tiny"
    padded = True

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.dimensions, self.normalize, self.prompts = WIDTH, True, {}
        self.words = torch.nn.Parameter(torch.randn(WORDS, 6, generator=generator))
        self.out = torch.nn.Linear(6, WIDTH)
        with torch.no_grad():
            self.out.weight.copy_(torch.randn(WIDTH, 6, generator=generator) * 0.5)
            self.out.bias.zero_()
        self.dropout = torch.nn.Dropout(0.2)

    def tokens(self, texts, role="query"):
        raise NotImplementedError

    def forward(self, tokens: Tokens) -> torch.Tensor:
        ids, mask = (torch.from_numpy(array) for array in tokens.padded(0))
        words = self.dropout(self.words[ids]) * mask.unsqueeze(-1)
        mean = words.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return torch.nn.functional.normalize(self.out(mean), dim=1)

    def save(self, path, note):
        raise NotImplementedError


def some_tokens(count: int, seed: int = 1, longest: int = 9) -> Tokens:
    random = np.random.default_rng(seed)
    return Tokens.of([random.integers(1, WORDS, random.integers(1, longest + 1)).tolist() for _ in range(count)])


def unit(count: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def some_data(count: int = 90, documents: int = 20) -> TrainingSet:
    """Queries whose targets a static tower can learn, documents, sources (some unknown) and mined candidates."""
    tokens, words = some_tokens(count), unit(WORDS, 5)
    targets = np.stack([words[tokens[i]].mean(0) for i in range(count)])
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)
    random = np.random.default_rng(3)
    mined = np.stack([random.permutation(documents)[:4] for _ in range(count)])
    mined[::3, 2:] = -1
    return TrainingSet(
        tokens,
        ArrayVectors(targets.astype(np.float32)),
        documents=ArrayVectors(unit(documents, 7)),
        document_tokens=some_tokens(documents, seed=8, longest=20),
        sources=random.integers(-1, documents, count),
        mined=mined,
    )


def objectives(*texts: str, **more: object) -> list[ObjectiveSpec]:
    specs = []
    for text in texts:
        family, _, form = text.partition(":")
        specs.append(ObjectiveSpec(family=family, form=form or None, **{"documents": "batch", **more}))
    return specs


def toy_task(kind: str = "static", *texts: str, seed: int = 0, **more: object) -> Task:
    tower = DenseTower(seed) if kind == "dense" else static_tower(seed, head=kind == "head")
    return Task(tower, build_terms(objectives(*(texts or ("match:l2",)), **more)))


def settings(**changes: object) -> TrainingSpec:
    return TrainingSpec(**{"epochs": 3, "max_texts_per_batch": 8, "tokens_per_batch": 60, "patience": 99, **changes})


def bytes_of(task: Task) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in task.state_dict().items()}


def lines_of(run: Path) -> list[dict]:
    """The metrics, less what depends on the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("seconds")
    return lines


def closeness(data: TrainingSet):
    """A validation: mean cosine with the teacher over all queries."""
    targets = torch.from_numpy(data.query_targets.gather(np.arange(data.queries)))

    def validate(task: Task) -> dict[str, float]:
        with torch.no_grad():
            return {"score": float((task.query_tower(data.query_tokens) * targets).sum(1).mean())}

    return validate
