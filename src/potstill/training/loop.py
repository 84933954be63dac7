"""The loop: batches in order, one update each, and at any moment a state from which it goes on to the same end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic

import torch

from .. import progress
from ..errors import Interrupted, PotstillError
from ..recipe import TrainingSpec
from . import random_states
from .batches import Batches, Plan
from .checkpoint import Checkpoints
from .checks import check
from .data import TrainingSet
from .defaults import DEFAULTS, resolved
from .gathering import average_gradients, processes, together
from .gradient_cache import CachedPasses
from .identity import identity, require_same_run
from .interruption import Request, watched
from .metrics import MetricsLog
from .optimiser import Optimiser, rate_factor
from .task import Task
from .trainable import DataT, Losses, Trainable

LOG_EVERY = 20

Validate = Callable[[Task], Mapping[str, float]]


@dataclass(frozen=True)
class TrainResult:
    """What training came to; the task holds the best weights, or the last ones where nothing validated them.

    `seconds` is the time of the loop without validation, over all sittings; `share_of_compute` the part of it spent in
    the student's forward and backward passes, the loss and the optimiser. `epochs` counts those completed.
    """

    steps: int
    epochs: int
    best_score: float | None
    best_step: int | None
    seconds: float
    texts: int
    stopped_early: bool
    share_of_compute: float


@dataclass
class _Counters:
    """Where the run is; all of it is in every checkpoint."""

    step: int = 0
    epoch: int = 0
    position: int = 0
    texts: int = 0
    seconds: float = 0.0
    compute_seconds: float = 0.0
    best_score: float | None = None
    best_step: int | None = None
    stale: int = 0
    stopped_early: bool = False
    finished: bool = False


def train(
    task: Task,
    data: TrainingSet,
    spec: TrainingSpec,
    run: Path,
    *,
    validate: Validate | None = None,
    resume: bool = False,
    digest: str | Mapping[str, str] = "",
) -> TrainResult:
    """Train a student's task; see `learn`.

    Raises:
        InputError: the data lacks what an objective needs; and as `learn`.
    """
    check(task, data)
    return learn(task, data, spec, run, validate=validate, resume=resume, digest=digest)


def learn(
    task: Trainable[DataT],
    data: DataT,
    spec: TrainingSpec,
    run: Path,
    *,
    validate: Callable[[Any], Mapping[str, float]] | None = None,
    resume: bool = False,
    digest: str | Mapping[str, str] = "",
) -> TrainResult:
    """Train anything trainable, in one sitting or several.

    Writes `run/metrics.jsonl` (a line every 20 updates and at each validation) and `run/checkpoints/`.

    Args:
        task: changed in place; ends with the best weights.
        data: what it is trained on.
        spec: settings; those that are None get the default of the task's kind.
        run: folder of the run.
        validate: called before the first update and after every epoch (or `spec.validate_every` updates) with the task
            in eval mode and gradients off. Gives measures by name; the best `score` (higher is better) decides which
            weights are kept and when to stop early. None: the last weights are the result.
        resume: go on from the newest whole checkpoint of `run`, if there is one; otherwise older ones are removed.
        digest: what else decides the result (recipe, data), by name; a run is not resumed when it has changed.

    Raises:
        InputError: what is to be resumed was a different run.
        Interrupted: Ctrl-C or SIGTERM; everything is saved.
        PotstillError: the loss is not finite.
    """
    spec = resolved(spec, task.kind)
    with _threads(spec.threads), watched() as request:
        return _Loop(task, data, spec, run, validate, resume, digest).run(request)


class _Loop(Generic[DataT]):
    def __init__(
        self,
        task: Trainable[DataT],
        data: DataT,
        spec: TrainingSpec,
        run: Path,
        validate: Callable[[Any], Mapping[str, float]] | None,
        resume: bool,
        digest: str | Mapping[str, str],
    ) -> None:
        from accelerate import Accelerator

        assert spec.learning_rate is not None
        assert spec.epochs is not None
        self.accelerator = Accelerator()
        self.task, self.data, self.spec, self.validate = task.to(self.accelerator.device), data, spec, validate
        self.epochs = spec.epochs
        self.optimiser = Optimiser(
            task,
            table_rate=spec.learning_rate,
            dense_rate=spec.learning_rate * DEFAULTS[task.kind].dense_factor,
            weight_decay=spec.weight_decay,
            clip=spec.clip,
        )
        self.identity = identity(spec, data, task, digest)
        self.checkpoints = Checkpoints(run / "checkpoints", spec.keep_checkpoints)
        self.at = _Counters()
        self.names = ["loss", *task.term_names]
        self.sums = torch.zeros(len(self.names), device=task.device)
        self.summed = 0
        self.saved_at = time.monotonic()
        self.main = processes()[0] == 0  # of processes that train as one, the first writes
        resumed = self._resume(run) if resume else False
        if not resumed:
            if self.main:
                self.checkpoints.clear()
            random_states.seed_all(spec.seed)
        log = run / "metrics.jsonl" if self.main else None
        self.log = MetricsLog(log, self.at.step if resumed else None)

    def run(self, request: Request) -> TrainResult:
        """Do all that is left."""
        left = len(self.data) * self.epochs - self.at.texts
        try:
            if not self.at.finished:
                with progress.meter("training", total=left, unit=self.task.unit) as meter:
                    self._start()
                    while not self.at.finished:
                        self._epoch(meter, request)
        finally:
            self.log.close()
        together()  # the first has written what all now read
        if self.at.best_step is not None:
            best = self.checkpoints.best()
            assert best is not None
            self.task.load_state_dict(best)
        self.task.eval()
        return TrainResult(
            steps=self.at.step,
            epochs=self.at.epoch,
            best_score=self.at.best_score,
            best_step=self.at.best_step,
            seconds=self.at.seconds,
            texts=self.at.texts,
            stopped_early=self.at.stopped_early,
            share_of_compute=self.at.compute_seconds / self.at.seconds if self.at.seconds else 0.0,
        )

    def _start(self) -> None:
        """Before the first update: what is untrained is validated too, and may turn out to be the best."""
        self.task.train()
        if self.at.step == 0 and self.at.best_step is None:
            improved = self._validate()
            self._save(improved)

    def _epoch(self, meter: progress.Meter, request: Request) -> None:
        plan = self._plan(self.at.epoch)
        started = time.perf_counter()
        while self.at.position < len(plan):
            at = self.at
            rows = plan[at.position]
            done = (at.epoch + (at.position + 0.5) / len(plan)) / self.epochs
            factor = rate_factor(done, self.spec.schedule, self.spec.warmup)
            final = at.epoch + 1 == self.epochs and at.position + 1 == len(plan)
            self._update(rows, factor, final)
            at.step, at.position, at.texts = at.step + 1, at.position + 1, at.texts + len(rows)
            ends = at.position == len(plan)
            if ends:
                at.epoch, at.position = at.epoch + 1, 0
            last = ends and at.epoch == self.epochs
            if at.step % LOG_EVERY == 0 or last:
                meter.advance(0, self._log(factor))
            meter.advance(len(rows))
            at.seconds += time.perf_counter() - started
            improved = self._validation_due(ends, last) and self._validate()
            started = time.perf_counter()
            at.finished = last or at.stopped_early
            overdue = time.monotonic() - self.saved_at >= self.spec.checkpoint_seconds
            if improved or ends or at.finished or overdue or request.stop:
                self._save(improved)
            if request.stop and not at.finished:
                raise Interrupted(
                    f"training was stopped after step {at.step} of epoch {at.epoch + 1}; everything is saved",
                    fix="go on with the same command and --resume",
                )
            if at.finished:
                return
            if ends:
                at.seconds += time.perf_counter() - started
                return

    def _plan(self, epoch: int) -> Plan:
        assert self.spec.tokens_per_batch is not None
        assert self.spec.max_texts_per_batch is not None
        return Batches(
            self.task.lengths(self.data, epoch),
            tokens_per_batch=self.spec.tokens_per_batch,
            max_texts=self.spec.max_texts_per_batch,
            seed=self.spec.seed,
            padded=self.task.padded,
        ).plan(epoch)

    def _update(self, rows: Any, factor: float, final: bool) -> None:
        batch = self.task.prepare(self.data, rows, self.at.step, self.at.epoch)
        started = time.perf_counter()
        cached = None
        if self.spec.encode_at_once is not None:
            cached = CachedPasses(self.task.passes(batch), self.spec.encode_at_once, self._autocast)
            outputs = self.task.assembled(cached.values, batch)
        else:
            with self._autocast():
                outputs = self.task(batch)
        losses = self.task.losses(outputs, batch)
        self.at.compute_seconds += time.perf_counter() - started
        self._note(losses, outputs, batch, final)
        started = time.perf_counter()
        if losses.total.requires_grad:
            self.accelerator.backward(losses.total)
            if cached is not None:
                cached.spread()
        average_gradients(value for _, value in self.task.named_trainable())
        self.optimiser.step(factor)
        self.at.compute_seconds += time.perf_counter() - started

    def _note(self, losses: Losses, outputs: Any, batch: Any, final: bool) -> None:
        self.sums += torch.stack([losses.total.detach(), *(value.detach() for value in losses.terms.values())])
        self.summed += 1
        due = final or (self.at.step + 1) % LOG_EVERY == 0
        self.norms = self.task.gradient_norms(losses, outputs) if due else None
        self.details = self.task.details(outputs, batch) if due else {}

    def _log(self, factor: float) -> str:
        """Write the means since the last line; gives a note for the meter."""
        means = dict(zip(self.names, (self._finite_sums() / self.summed).tolist(), strict=True))
        loss = means.pop("loss")
        line: dict[str, Any] = {"step": self.at.step, "epoch": self._epochs_done(), "texts": self.at.texts}
        line |= {"learning_rate": self.optimiser.table_rate * factor, "loss": loss, "terms": means}
        if self.norms is not None:
            line["gradient_norms"] = self.norms
        line |= self.details
        self.log.write(line | {"seconds": round(self.at.seconds, 3)})
        self.sums.zero_()
        self.summed = 0
        return f"loss {loss:.4f}"

    def _validation_due(self, ends: bool, last: bool) -> bool:
        every = self.spec.validate_every
        return last or (ends if every is None else self.at.step % every == 0)

    def _validate(self) -> bool:
        """Measure what is trained, note the best score; True when this is it."""
        if self.validate is None:
            return False
        self.task.eval()
        with torch.no_grad(), random_states.untouched():
            measures = {name: float(value) for name, value in self.validate(self.task).items()}
        self.task.train()
        at, score = self.at, measures["score"]
        if not math.isfinite(score):
            raise PotstillError(
                f"validation after step {at.step} gave a score of {score}", fix="lower training.learning_rate"
            )
        improved = at.best_score is None or score > at.best_score
        if improved:
            at.best_score, at.best_step, at.stale = score, at.step, 0
        else:
            at.stale += 1
            at.stopped_early = at.stale >= self.spec.patience
        line = {"step": at.step, "epoch": self._epochs_done(), "texts": at.texts, "validation": measures}
        self.log.write(line | {"best": improved, "seconds": round(at.seconds, 3)})
        return improved

    def _epochs_done(self) -> float:
        return round(self.at.texts / len(self.data), 4)

    def _finite_sums(self) -> torch.Tensor:
        if not bool(torch.isfinite(self.sums).all()):
            raise PotstillError(
                f"the loss is not finite at step {self.at.step}", fix="lower training.learning_rate and start again"
            )
        return self.sums

    def _save(self, improved: bool) -> None:
        state = {
            "identity": self.identity,
            "counters": asdict(self.at),
            "sums": self._finite_sums().tolist(),
            "summed": self.summed,
            "threads": torch.get_num_threads(),
            "random": random_states.states(),
        }
        best = "this" if improved else None if self.at.best_step is None else "before"
        self.saved_at = time.monotonic()
        if not self.main:
            return
        self.checkpoints.save(self.at.step, state, self.task.state_dict(), self.optimiser.state_dict(), best=best)

    def _resume(self, run: Path) -> bool:
        checkpoint = self.checkpoints.newest()
        if checkpoint is None:
            progress.say(f"nothing to resume in {run}: training starts from the beginning")
            return False
        state = checkpoint.state
        require_same_run(state["identity"], self.identity, run)
        self.task.load_state_dict(checkpoint.task)
        self.optimiser.load_state_dict(checkpoint.optimiser)
        self.at = _Counters(**state["counters"])
        self.sums = torch.tensor(state["sums"], device=self.task.device)
        self.summed = state["summed"]
        random_states.restore(state["random"])
        if state["threads"] != torch.get_num_threads():
            progress.warn(
                f"the run used {state['threads']} threads and goes on with {torch.get_num_threads()}: "
                "the last digits of the result may differ from an uninterrupted run's"
            )
        progress.say(f"resumed at step {self.at.step}")
        return True

    def _autocast(self) -> AbstractContextManager[Any]:
        """bf16 for the towers: on request, or by itself on CUDA for students that are not a table."""
        device, wanted = self.accelerator.device.type, self.spec.bf16
        if wanted == "auto":
            wanted = device == "cuda" and self.task.padded
        return torch.autocast(device, dtype=torch.bfloat16) if wanted else nullcontext()


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
