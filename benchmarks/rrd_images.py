"""Relational distillation on images: small residual networks on Fashion-MNIST, the text objectives unchanged.

    POTSTILL_DATA=DIR python benchmarks/rrd_images.py grid [--pairs 20:8] [--seeds 0 1 2] [--images 20000] [--epochs 20]
    python benchmarks/rrd_images.py tests

A teacher is trained once for each pair of depths and frozen; student and teacher see the same augmented view. SGD as
published (batch 64, rate 0.05, momentum, weight decay), its rate divided by ten three times at the shares of the
published schedule (150, 180 and 210 of 240 epochs). Passes are bfloat16, losses float32. Weights are the published ones
of each method, nothing was tuned, and the last epoch is reported on the test images.

Finished cells are kept in `benchmarks/results/rrd_images.json`, and which test images each student got right in
`rrd_images_right.json`: run a grid again to go on. `tests` compares arms image by image, seeds averaged.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from cells import Cells, cell, paired_cells
from given import data
from potstill.objectives import BankRelations, BatchGeometry, NoiseContrast, calibrate_temperature
from potstill.objectives.functional import score_kl
from potstill.training.queue import VectorQueue
from resnets import ResNet, parameters, views

RESULTS = Path(__file__).parent / "results"
MEASURE = "accuracy"
BATCH, RATE, MOMENTUM, DECAY = 64, 0.05, 0.9, 5e-4
MILESTONES = (150 / 240, 180 / 240, 210 / 240)
QUEUE, WIDTH, KD_TEMPERATURE = 16_384, 64, 4.0
PERPLEXITY, ANCHORS, PUBLISHED, CHUNK = 16.0, 1_000, 0.1, 4_096

ALONE = "student alone"
ARMS = (
    ALONE,
    "KD",
    "CRD",
    "RRD, paper-cli",
    "RRD, calibrated",
    "RRD, paper-cli + KD",
    "RRD, calibrated + KD",
    "RKD",
    "SP",
    "PKT",
    "RRD, published: frozen random teacher head",
)
PAIRS = [
    *((ALONE, arm) for arm in ARMS[1:]),
    ("KD", "CRD"),
    ("KD", "RRD, paper-cli"),
    ("KD", "RRD, calibrated"),
    ("KD", "RRD, paper-cli + KD"),
    ("KD", "RRD, calibrated + KD"),
    ("CRD", "RRD, paper-cli"),
    ("CRD", "RRD, calibrated"),
    ("CRD", "RRD, paper-cli + KD"),
    ("CRD", "RRD, calibrated + KD"),
    ("RRD, published: frozen random teacher head", "RRD, paper-cli"),
]


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["grid", "tests"])
    parser.add_argument("--pairs", nargs="+", default=["20:8x8"], help="depths of teacher and student; x8: its width")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--until", type=float, default=math.inf, help="no cell is begun after so many seconds")
    parser.add_argument("--work", type=Path, default=Path("runs/rrd_images"), help="teachers are kept here")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    if given.part == "tests":
        tests(given.results)
    else:
        grid(given)


@dataclass(frozen=True)
class Job:
    """One network to train: `arm` None is the teacher of the pair."""

    pair: str
    arm: str | None
    seed: int
    images: int
    epochs: int
    teacher: dict[str, Tensor] | None = None
    stop: float = math.inf

    @property
    def collection(self) -> str:
        """Key of its cells."""
        return f"fashion-mnist, {self.images:,} images, ResNet-{self.pair.replace(':', ' to ResNet-')}"


@dataclass(frozen=True)
class Outcome:
    """What a job came to; `right` are the test images, `weights` the teacher's alone."""

    right: np.ndarray
    parameters: int
    seconds: float
    told: dict[str, float]
    weights: dict[str, Tensor] | None = None


def grid(given: argparse.Namespace) -> None:
    """Teachers and students that need none first, then the others."""
    stop = time.time() + given.until
    cells, held = Cells(given.results / "rrd_images.json"), given.results / "rrd_images_right.json"
    with ProcessPoolExecutor(given.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting: dict[Future[Outcome | None], Job] = {}

        def submit(job: Job) -> None:
            waiting[pool.submit(train, job)] = job

        wanted = [
            Job(pair, arm, seed, given.images, given.epochs, stop=stop)
            for pair in given.pairs
            for seed in given.seeds
            for arm in given.arms
        ]
        wanted = [job for job in wanted if not cells.has(collection=job.collection, arm=job.arm, seed=job.seed)]
        given.work.mkdir(parents=True, exist_ok=True)
        for pair in dict.fromkeys(job.pair for job in wanted if job.arm != ALONE):
            teacher = Job(pair, None, 0, given.images, given.epochs, stop=stop)
            if (path := saved(given.work, teacher)).is_file():
                for job in wanted:
                    if job.pair == pair and job.arm != ALONE:
                        submit(replace(job, teacher=load_file(path)))
            else:
                submit(teacher)
        for job in wanted:
            if job.arm == ALONE:
                submit(job)
        while waiting:
            done = next(as_completed(waiting))
            job, outcome = waiting.pop(done), done.result()
            if outcome is None:
                continue
            keep(job, outcome, cells, held)
            if job.arm is None:
                assert outcome.weights is not None
                save_file(outcome.weights, saved(given.work, job))
                for other in wanted:
                    if other.pair == job.pair and other.arm != ALONE:
                        submit(replace(other, teacher=outcome.weights))


def saved(work: Path, teacher: Job) -> Path:
    """Where a teacher's weights are kept."""
    return work / f"{teacher.pair.replace(':', '-')}-{teacher.images}-{teacher.epochs}.safetensors"


def keep(job: Job, outcome: Outcome, cells: Cells, held: Path) -> None:
    """Put a job's figures into the results."""
    from potstill.atomic import write_json

    arm, seed = job.arm or "teacher", None if job.arm is None else job.seed
    accuracy = float(outcome.right.mean())
    rows = [
        cell(job.collection, arm, seed, MEASURE, accuracy),
        cell(job.collection, arm, seed, "parameters", outcome.parameters),
        cell(job.collection, arm, seed, "seconds", outcome.seconds),
        *(cell(job.collection, arm, seed, name, value) for name, value in outcome.told.items()),
    ]
    right = json.loads(held.read_text(encoding="utf-8")) if held.exists() else {}
    packed = base64.b64encode(np.packbits(outcome.right).tobytes()).decode()
    right.setdefault(job.collection, {}).setdefault(arm, {})[str(seed)] = packed
    write_json(held, right)
    cells.add(rows)
    print(f"{job.collection}, {arm}, seed {seed}: {accuracy:.4f} in {outcome.seconds:.0f} s", flush=True)


def depths(pair: str) -> tuple[int, int, int]:
    """Depth of the teacher, depth and width of the student."""
    teacher, student = pair.split(":")
    depth, _, width = student.partition("x")
    return int(teacher), int(depth), int(width or 16)


def train(job: Job) -> Outcome | None:
    """Train one network; None where it is too late to begin."""
    if time.time() > job.stop:
        return None
    torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images, labels, test, answers = fashion(job.images, device)
    torch.manual_seed(job.seed)
    teacher_depth, depth, width = depths(job.pair)
    model = ResNet(teacher_depth) if job.arm is None else ResNet(depth, width=width)
    model.to(device, memory_format=torch.channels_last)
    teacher = None
    if job.teacher is not None:
        teacher = ResNet(teacher_depth).eval().requires_grad_(False)
        teacher.load_state_dict(job.teacher)
        teacher.to(device, memory_format=torch.channels_last)
    generator = torch.Generator(device).manual_seed(job.seed)
    terms = Terms(job.arm or ALONE, model, teacher, device)
    if teacher is not None:
        terms.calibrate(features_of(teacher, images[: QUEUE + ANCHORS]))
    trained = [*model.parameters(), *terms.parameters()]
    optimiser = torch.optim.SGD(trained, RATE, MOMENTUM, weight_decay=DECAY)
    updates = len(images) // BATCH
    started = time.perf_counter()
    for epoch in range(job.epochs):
        for group in optimiser.param_groups:
            group["lr"] = RATE * 0.1 ** sum(epoch >= share * job.epochs for share in MILESTONES)
        model.train()
        order = torch.randperm(len(images), generator=generator, device=device)
        for rows in order[: updates * BATCH].view(updates, BATCH):
            view = views(images[rows], generator)
            loss = terms(view, labels[rows], rows)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
    model.eval()
    with torch.no_grad():
        right = torch.cat([seen(model, part)[1].argmax(dim=1) for part in test.split(1000)]) == answers
    seconds = time.perf_counter() - started
    weights = {k: v.cpu().contiguous() for k, v in model.state_dict().items()} if job.arm is None else None
    return Outcome(right.cpu().numpy(), parameters(model), seconds, terms.told, weights)


class Terms(nn.Module):
    """The loss of one arm."""

    def __init__(self, arm: str, student: ResNet, teacher: ResNet | None, device: torch.device) -> None:
        super().__init__()
        self.arm, self.told = arm, dict[str, float]()
        self.__dict__["student"], self.__dict__["teacher"] = student, teacher  # trained, or not, elsewhere
        banked = arm.startswith(("RRD", "CRD"))
        random = "random teacher head" in arm
        width = 128 if random else (teacher.features if teacher is not None else WIDTH)
        if banked:
            self.head = nn.Linear(student.features, width, bias=random)
            self.queue = VectorQueue(QUEUE, width)
        self.__dict__["random"] = None
        if random and teacher is not None:
            # As released: registered to be trained, never reached by a gradient, so a random map for ever.
            self.__dict__["random"] = nn.Linear(teacher.features, width).to(device).requires_grad_(False)
        self.objective: BankRelations | NoiseContrast | None = None
        if arm.startswith("RRD"):
            self.objective = BankRelations.preset("paper-cli", chunk=CHUNK)
        elif arm == "CRD":
            self.objective = NoiseContrast()
        self.to(device)

    def calibrate(self, features: Tensor) -> None:
        """Temperature by perplexity, of the frozen teacher's vectors of images as they are."""
        if "calibrated" not in self.arm:
            return
        vectors = normalize(features, dim=1)
        found = calibrate_temperature(vectors[:ANCHORS] @ vectors[ANCHORS:].T, PERPLEXITY)
        self.objective = BankRelations.preset("matched", temperature=found.temperature, chunk=CHUNK)
        self.told |= {"teacher temperature": found.temperature, "effective neighbours": found.perplexity}

    def forward(self, images: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
        """The whole loss of a batch; `ids` are its images' numbers."""
        features, logits = seen(self.student, images)
        hard = cross_entropy(logits, labels)
        if self.teacher is None:
            return hard
        with torch.no_grad():
            theirs, targets = seen(self.teacher, images)
        soft = score_kl(logits, targets, KD_TEMPERATURE, KD_TEMPERATURE) * KD_TEMPERATURE**2
        geometry: dict[str, Callable[[], Tensor]] = {
            "RKD": lambda: (
                25 * BatchGeometry("rkd-distance")(features, theirs) + 50 * BatchGeometry("rkd-angle")(features, theirs)
            ),
            "SP": lambda: 3_000 * BatchGeometry("sp")(features, theirs),
            "PKT": lambda: 30_000 / len(images) * BatchGeometry("pkt")(features, theirs),
        }
        if self.arm == "KD":
            return 0.1 * hard + 0.9 * soft
        if self.arm in geometry:
            return hard + geometry[self.arm]()
        relation = self.relations(features, theirs, ids)
        assert self.objective is not None
        if self.arm == "CRD":
            return hard + 0.8 * relation
        if "calibrated" in self.arm:  # a gradient goes with 1 / T: as strong as at the published temperature
            relation = relation * (self.objective.student_temperature / PUBLISHED)
        return hard + relation + (soft if self.arm.endswith("+ KD") else 0.0)

    def relations(self, features: Tensor, theirs: Tensor, ids: Tensor) -> Tensor:
        """Against the queue, in which the batch is already."""
        assert self.objective is not None
        keys = normalize(theirs if self.random is None else self.random(theirs), dim=1)
        ours = normalize(self.head(features), dim=1)
        self.queue.push(keys, ids)
        bank, bank_ids = self.queue.filled()
        if isinstance(self.objective, NoiseContrast) or self.objective.self_policy != "include":
            return self.objective(ours, keys, bank=bank, ids=ids, bank_ids=bank_ids)
        return self.objective(ours, keys, bank=bank)


def seen(model: ResNet, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features and logits, float32, of a pass in bfloat16."""
    with torch.autocast(images.device.type, dtype=torch.bfloat16):
        features, logits = model(images.contiguous(memory_format=torch.channels_last))
    return features.float(), logits.float()


def features_of(model: ResNet, images: Tensor) -> Tensor:
    """Features (n, d) of many images."""
    with torch.no_grad():
        return torch.cat([seen(model, part)[0] for part in images.split(1000)])


def fashion(count: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images (n, 1, 28, 28), scaled by their mean and deviation, their labels; the same of the test set."""
    folder = data() / "fashion-mnist"
    sets = []
    for name, kept in (("train", count), ("t10k", None)):
        images = idx(folder / f"{name}-images-idx3-ubyte.gz")[:kept]
        labels = idx(folder / f"{name}-labels-idx1-ubyte.gz")[:kept]
        sets.append((torch.from_numpy(images).float().unsqueeze(1) / 255, torch.from_numpy(labels).long()))
    (train_images, train_labels), (test_images, test_labels) = sets
    mean, deviation = train_images.mean(), train_images.std()
    scaled = [((part - mean) / deviation).to(device) for part in (train_images, test_images)]
    return scaled[0], train_labels.to(device), scaled[1], test_labels.to(device)


def idx(path: Path) -> np.ndarray:
    """An idx file of bytes, gzipped: two zeros, the type 8, the number of dimensions, each as a big-endian integer."""
    content = gzip.decompress(path.read_bytes())
    zero, kind, dimensions = int.from_bytes(content[:2], "big"), content[2], content[3]
    if zero or kind != 8:
        raise ValueError(f"{path} is no idx file of bytes")
    shape = np.frombuffer(content, ">i4", dimensions, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy()


def tests(results: Path) -> None:
    """Paired tests between arms over the test images, seeds averaged."""
    cells = Cells(results / "rrd_images.json")
    held = json.loads((results / "rrd_images_right.json").read_text(encoding="utf-8"))
    rows = []
    for collection, arms in held.items():
        for first, second in pairs_of(arms):
            common = arms[first].keys() & arms[second].keys()  # the teacher has no seed
            before, after = (
                list(unpacked({seed: held for seed, held in arms[arm].items() if seed in common or not common}))
                for arm in (first, second)
            )
            rows += paired_cells(collection, f"{second} against {first}", before, after, MEASURE)
    cells.add(rows)


def pairs_of(arms: dict[str, dict[str, str]]) -> Iterator[tuple[str, str]]:
    """Those whose two arms were run, the teacher among them."""
    yield from (pair for pair in [(ALONE, "teacher"), *PAIRS] if pair[0] in arms and pair[1] in arms)


def unpacked(seeds: dict[str, str]) -> Iterator[dict[str, float]]:
    """Image number -> 1.0 where it was got right, for each seed."""
    for packed in seeds.values():
        bits = np.unpackbits(np.frombuffer(base64.b64decode(packed), np.uint8))
        yield {str(number): float(bit) for number, bit in enumerate(bits)}


if __name__ == "__main__":
    main()
