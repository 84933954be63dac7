"""What is learned from: queries, candidates, and the weighted terms of the loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from .banks import BankSpec
from .base import Role, Strict
from .layers import LayersSpec
from .votes import VoteSpec


class GeneratorSpec(Strict):
    """A sequence-to-sequence model (T5, BART, doc2query, ...) that writes queries.

    `reads: documents` writes queries for documents; `reads: queries` rewrites real queries whose words were dropped and
    swapped with probability `noise` (EmbedDistill's other arm). `sampling: null` decodes with beams.
    """

    model: str
    revision: str | None = None
    reads: Literal["documents", "queries"] = "documents"
    each: int = Field(default=2, ge=1, le=50)
    sources: int = Field(default=20_000, ge=1)
    prefix: str = ""
    beams: int = Field(default=4, ge=1)
    sampling: float | None = Field(default=None, gt=0, le=1)
    temperature: float = Field(default=1.0, gt=0)
    max_input: int = Field(default=256, ge=8)
    max_output: int = Field(default=32, ge=2)
    noise: float = Field(default=0.2, ge=0, lt=1)
    batch_size: int = Field(default=16, ge=1)
    device: str | None = None

    @model_validator(mode="after")
    def _beams_suffice(self) -> GeneratorSpec:
        if self.sampling is None and self.each > self.beams:
            raise ValueError(
                f"`each` is {self.each} and `beams` {self.beams}: a beam search gives at most one text a beam; "
                "give more beams, or draw with `sampling`"
            )
        return self


class QueriesSpec(Strict):
    """Where training queries come from. Shares are relative; what a source lacks goes to the others.

    `cuts: false` leaves out all that is cut from documents. `judgments` names a split whose judgments may be learned
    from: its positives are then known to the objectives that need them. `generator` writes queries, which have the
    share `generated`; `mixed` joins halves of two queries. The filters (`words`, `round_trip`, `pick`) are for queries
    that were generated: a number of words from-to; the source document must be among the teacher's best `round_trip`;
    of `pool` times as many queries as there is room for, those are kept that `pick` finds most informative.
    """

    cap: int = Field(default=40_000, ge=20)
    files: tuple[Path, ...] = ()
    other_splits: bool = True
    judgments: str | None = None
    cuts: bool = True
    titles: float = Field(default=1.0, ge=0)
    sentences: float = Field(default=4.0, ge=0)
    spans: float = Field(default=1.0, ge=0)
    phrases: float = Field(default=1.0, ge=0)
    keywords: float = Field(default=1.0, ge=0)
    documents: float = Field(default=1.0, ge=0)
    generated: float = Field(default=4.0, ge=0)
    mixed: float = Field(default=0.0, ge=0)
    generator: GeneratorSpec | None = None
    words: tuple[int, int] = (2, 64)
    round_trip: int | None = Field(default=None, ge=1)
    pick: Literal["entropy", "disagreement", "teacher-right"] | None = None
    pool: float = Field(default=3.0, ge=1)
    held_out: int = Field(default=500, ge=10)

    @model_validator(mode="after")
    def _words_rise(self) -> QueriesSpec:
        if not 1 <= self.words[0] <= self.words[1]:
            raise ValueError(f"`words` is from-to, at least 1: not {list(self.words)}")
        return self

    @model_validator(mode="after")
    def _filters_have_queries(self) -> QueriesSpec:
        if self.generator is None and (self.pick or self.round_trip):
            raise ValueError("`round_trip` and `pick` choose among generated queries, and there is no `generator`")
        if self.generator is not None and self.generator.reads == "queries":
            if self.round_trip:
                raise ValueError(
                    "`round_trip` looks for the document that a query was written for; give `reads: documents`"
                )
            if self.pick == "teacher-right":
                raise ValueError("`pick: teacher-right` asks for a document that fits; give `reads: documents`")
        return self


class CandidatesSpec(Strict):
    """The documents that a query is compared with where an objective says `documents: mined`.

    `sources` are taken in turn, best first: `teacher` (its vectors), `bm25`, `random`, `judged` (documents that were
    judged for the query, of whatever grade: where judgments are the lists to rank), or the path of candidates that were
    saved, of a TREC run, or of tab-parted scores. Known positives are never negatives. `depth` are looked at in
    each source, the first `skip` left out; `below_positive` drops those that the teacher scores at least this share of
    the (worst) positive, `max_score` those of at least this score; `near_duplicates` drops those as close to a
    positive, or to a better candidate, as this cosine. `count` are kept a query, a known positive put before them.
    `judged_only` leaves queries without a judged positive without a list: a cross-encoder reads no pairs of theirs.
    """

    sources: tuple[str, ...] = ("teacher",)
    count: int = Field(default=15, ge=1)
    depth: int = Field(default=100, ge=1)
    skip: int = Field(default=0, ge=0)
    below_positive: float | None = Field(default=None, gt=0)
    max_score: float | None = None
    near_duplicates: float | None = Field(default=None, gt=0, le=1)
    approximate: bool = False
    judged_only: bool = False


FORMS: dict[str, tuple[str, ...]] = {
    "match": ("l2", "squared", "cosine", "covariance"),
    "scores": ("kl", "mse", "margin-mse", "pearson", "spearman", "cmkd"),
    "contrastive": ("one-hot",),
    "layers": ("adaptive", "uniform", "agreement"),
    "relations": (
        "bank",
        "own",
        "disco",
        "crd",
        "pkt",
        "flow",
        "rkd-distance",
        "rkd-angle",
        "sp",
        "ega",
        "comparative",
        "cross-metric",
    ),
    "vote": ("list", "margin", "logit", "bce", "probability"),
    "ensemble": (
        "mean",
        "logits",
        "median",
        "random",
        "entropy",
        "entropy-softmax",
        "min-norm",
        "confidence",
        "policy",
    ),
}

OF_SEVERAL = ("vote", "ensemble")
"""Families that listen to several teachers at once."""

POINTS = ("logit", "bce", "probability")
"""Votes on single scores, which need all teachers on one scale."""

BANKED = ("bank", "disco", "crd")
"""Forms of `relations` that are taken against a bank; the others stay within the batch."""


class ObjectiveSpec(Strict):
    """One weighted term. Short forms: `match:l2`, `match:cosine`, `scores:kl`, `contrastive`, `layers:adaptive`.

    `teacher` names the scorer that the term listens to; None: the teacher of vectors.

    `documents` says what scores are compared on: those the batch's queries were cut from (or judged to fit), `count`
    drawn at random, each query's first `count` candidates (`mined`), the candidates of all queries of the batch put
    together (`pooled`), or all; `auto`: all where that is affordable, else a sample, the batch's own where the student
    has to encode them, `mined` for a scorer's scores, and for layers `pooled` (`mined` where the teacher reads pairs).

    Temperatures None: 0.05, and for a scorer the one it was calibrated to. `scale_by_temperature` multiplies a term by
    the product of the two (Hinton's T squared), so that its gradient does not shrink with them. `keep_wrong` is SSKD's
    error filter: of the lists whose known positive the teacher does not rank first, only this share is kept, the least
    wrong ones.

    `layers` says how a `layers` objective pairs blocks; its forms say how it weighs the pairs: `adaptive` by the
    teacher layers' own contrastive loss, `uniform`, or without labels by `agreement` with the teacher's last layer.

    `relations` keep how texts of one `role` lie to others, by the teacher of vectors: to a `bank` of its vectors
    (`bank`, the contrasts `disco` and `crd`), among the texts of the batch (`own` and the forms named after the papers
    that compare geometries), or to the text that fits (`cross-metric`).

    `vote` listens to several `teachers` (scorers, and `teacher`, the one of vectors) over each query's own candidates:
    whole lists vote (`list`), or differences to the first candidate, a known positive where there is one (`margin`), or
    each score by itself (`logit`, `bce`, `probability`: all scores of a teacher are then brought to mean 0 and
    deviation 1 together). `ensemble` listens to them without a vote: to their `mean`, or as its forms say.
    """

    family: Literal["match", "scores", "contrastive", "layers", "relations", "vote", "ensemble"]
    form: str | None = None
    teacher: str | None = None
    teachers: tuple[str, ...] = ()
    weight: float = Field(default=1.0, gt=0)
    role: Role | Literal["both"] = "query"
    prefixes: tuple[int, ...] = ()
    student_temperature: float | None = Field(default=None, gt=0)
    teacher_temperature: float | None = Field(default=None, gt=0)
    scale_by_temperature: bool = False
    keep_wrong: float | None = Field(default=None, ge=0, le=1)
    documents: Literal["auto", "batch", "sample", "mined", "pooled", "all"] = "auto"
    count: int | None = Field(default=None, ge=1)
    layers: LayersSpec = LayersSpec()
    bank: BankSpec = BankSpec()
    vote: VoteSpec = VoteSpec()

    @model_validator(mode="after")
    def _voters(self) -> ObjectiveSpec:
        if self.family not in OF_SEVERAL:
            if self.teachers or self.vote != VoteSpec():
                raise ValueError(
                    "`teachers` and `vote` are for the families vote and ensemble; others name a `teacher`"
                )
            return self
        common = ("zscore", "weights", "temperatures", "offsets", "perplexity", "together", "cap")
        shared = {key: getattr(self.vote, key) for key in common}
        if self.family == "ensemble" and self.vote != VoteSpec(**shared):
            raise ValueError(f"an ensemble does not vote: of `vote` it has {', '.join(shared)}")
        if self.vote.weights and (self.family, self.form) != ("ensemble", "logits"):
            raise ValueError("`weights` are for ensemble:logits, whose scores are added up")
        if self.vote.weights and (len(self.vote.weights) != len(self.teachers) or min(self.vote.weights) <= 0):
            raise ValueError(f"`weights` are one positive number for each of the {len(self.teachers)} teachers")
        if self.teacher is not None or len(self.teachers) < 2:
            raise ValueError(f"objectives of the family {self.family} have `teachers`, a list of two names or more")
        if len(set(self.teachers)) < len(self.teachers):
            raise ValueError("a teacher has one vote: `teachers` names one of them twice")
        grouped = [name for group in self.vote.together for name in group]
        if strange := [name for name in grouped if name not in self.teachers or grouped.count(name) > 1]:
            raise ValueError(f"`together` groups the teachers of this objective, each once: {strange[0]} is not so")
        if self.vote.weights and self.vote.together:
            raise ValueError("`weights` already say how much each teacher counts: leave `together` out")
        if self.vote.offsets and len(self.vote.offsets) != len(self.teachers):
            raise ValueError(f"{len(self.teachers)} teachers and {len(self.vote.offsets)} offsets")
        if self.vote.temperatures and len(self.vote.temperatures) != len(self.teachers):
            raise ValueError(f"{len(self.teachers)} teachers and {len(self.vote.temperatures)} temperatures")
        return self

    @model_validator(mode="after")
    def _form_fits(self) -> ObjectiveSpec:
        forms = FORMS[self.family]
        if self.form is None:
            self.__dict__["form"] = forms[0]
        elif self.form not in forms:
            raise ValueError(f"family {self.family} has forms {', '.join(forms)}, not {self.form}")
        return self

    @property
    def needs_lists(self) -> bool:
        """Whether the term can only be computed on each query's own list of documents (unless its teacher is live)."""
        listens = self.teacher is not None and self.family in ("match", "scores")
        several = self.family in OF_SEVERAL and self.documents != "all"
        return listens or several or self.form == "margin-mse"

    def listens_to(self, name: str) -> bool:
        """Whether the term learns from this scorer."""
        return name == self.teacher or name in self.teachers

    @property
    def wants_temperature(self) -> bool:
        """Whether the term reads a scorer's temperature that the recipe leaves open."""
        return self.form in ("kl", "cmkd") and self.teacher_temperature is None

    def wants_temperature_of(self, name: str) -> bool:
        """Whether the term reads this scorer's temperature, and the recipe leaves it open."""
        votes = name in self.teachers and not self.vote.temperatures
        return votes or (self.teacher == name and self.wants_temperature)

    @property
    def wants_calibration(self) -> bool:
        """Whether the term's temperatures are to be found from the teacher's vectors."""
        related = self.family == "relations" and self.form in ("bank", "own")
        return related and self.teacher_temperature is None and self.bank.preset is None

    @property
    def needs_judgments(self) -> bool:
        """Whether the term learns from queries with a document that they were judged to fit."""
        told = self.vote.labelled is not None or (self.family, self.form) in (
            ("ensemble", "confidence"),
            ("ensemble", "policy"),
        )
        of_form = self.family == "contrastive" or self.form in ("margin-mse", "adaptive")
        return told or of_form or self.keep_wrong is not None


def short_objective(value: Any) -> Any:
    """`match:l2` is a family and its form."""
    if not isinstance(value, str):
        return value
    family, _, form = value.partition(":")
    return {"family": family, "form": form or None}
