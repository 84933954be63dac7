"""How a static student starts: the teacher's vector of every entry, weighted by rarity, factorised if asked.

The weight of an entry with probability p in the texts is `a / (a + p)`, a = 1e-3 (Arora et al., "A simple but
tough-to-beat baseline for sentence embeddings", ICLR 2017, equation 3), scaled to 1 on average over running text.
The factorised table is the rank-r product closest to the full one, each row's error counted by its frequency.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..progress import meter, say
from ..recipe import StudentSpec
from .anatomy import Anatomy, entry_vectors
from .counting import Texts, frequent_phrases, sampled, token_counts
from .static import StaticTower, bare
from .vocabulary import CORPUS_SIZE, corpus_tokenizer, entry_text, occurring, trimmed_to, unknown_id, with_phrases

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SIF = 1e-3
_MOST_UNKNOWN = 0.05
_BUDGET_RANK = 128
_ENTRIES_PER_CALL = 256


class Size(NamedTuple):
    """How large a static student is: most entries (None: no limit) and rank (None: the teacher's width)."""

    entries: int | None
    rank: int | None


def build_static(spec: StudentSpec, anatomy: Anatomy, texts: Texts, seed: int) -> StaticTower:
    """Build the tower; see `build_tower`."""
    texts = sampled(texts)
    base, counts, own = _base(spec, anatomy, texts)
    phrases = frequent_phrases(base, texts, spec.phrases)
    size = fit(spec, anatomy.dimensions, int(occurring(base, counts).sum()) + len(phrases))
    tokenizer, old = base, np.arange(len(counts))
    too_many = size.entries is not None and size.entries < len(counts) + len(phrases)
    if too_many and spec.vocabulary == "teacher":
        raise InputError(
            f"{len(counts):,} entries of the teacher and {len(phrases):,} phrases are more than {size.entries:,}",
            where="student.vocabulary",
            fix="use `vocabulary: trimmed`, a smaller `rank`, fewer `phrases`, or more parameters",
        )
    if too_many or spec.vocabulary == "trimmed":
        room = None if size.entries is None else max(32, size.entries - len(phrases))
        tokenizer, old = trimmed_to(base, counts, room, keep_special=False)
    if phrases:
        tokenizer = with_phrases(tokenizer, phrases)
    counts = token_counts(tokenizer, texts)
    vectors = _vectors(anatomy, tokenizer, old if own else old[:0], seed)
    unknown = unknown_id(tokenizer)
    frequency = np.where(np.arange(len(counts)) == unknown, 0, counts).astype(np.float64)
    weights = sif_weights(frequency)
    head = None
    rank = size.rank if size.rank is not None and size.rank < anatomy.dimensions else None
    if rank is not None:
        vectors, head = factorised(vectors, weights, frequency, rank)
    said = f", {len(phrases):,} of them phrases" if phrases else ""
    say(f"student: {len(vectors):,} entries{said}, {vectors.shape[1]} numbers each")
    return StaticTower(
        tokenizer,
        vectors,
        weights,
        head,
        normalize=anatomy.normalize,
        unknown=unknown,
        max_length=spec.max_length,
        prompts={"query": spec.prompts.query or "", "document": spec.prompts.document or ""},
    )


def static_from(
    modules: Sequence[Any], spec: StudentSpec, anatomy: Anatomy, prompts: dict[str, str], seed: int
) -> StaticTower:
    """A tower that goes on from a static model of someone's, with a head where its width is not the teacher's."""
    from .transformer import head_for

    plain = all(type(module).__name__ in ("StaticEmbedding", "Normalize") for module in modules)
    if not plain:
        raise InputError(
            "a static student model with layers of its own is not supported",
            where=f"student.model: {spec.model}",
            fix="use a student of kind static, which starts from the teacher",
        )
    tokenizer = modules[0].tokenizer
    table = modules[0].embedding.weight.detach().float().cpu().numpy()
    head = head_for(modules[:1], anatomy.dimensions, seed)
    said = {"query": spec.prompts.query, "document": spec.prompts.document}
    return StaticTower(
        tokenizer,
        table[: tokenizer.get_vocab_size()],
        np.ones(tokenizer.get_vocab_size(), dtype=np.float32),
        head[0].linear.weight.detach().numpy() if head else None,
        normalize=anatomy.normalize,
        unknown=unknown_id(tokenizer),
        max_length=spec.max_length,
        prompts={**prompts, **{role: text for role, text in said.items() if text is not None}},
    )


def fit(spec: StudentSpec, dimensions: int, entries: int) -> Size:
    """Most entries and rank for a budget of N numbers: `entries * rank + rank * dimensions <= N`.

    Without a budget: as the recipe says. With one, all entries that occur are kept as long as each has 128 numbers
    (or the recipe's rank); beyond that rarer entries go first. A rank above `dimensions` is an InputError.
    """
    if spec.rank is not None and spec.rank > dimensions:
        raise InputError(
            f"rank {spec.rank:,} is more than the teacher's {dimensions:,} dimensions",
            where="student.rank",
            fix="give a smaller `rank`, or leave it out for a full table",
        )
    if spec.parameters is None:
        return Size(spec.vocabulary_size, spec.rank)
    rank = spec.rank
    if rank is None:
        if entries * dimensions <= spec.parameters:
            return Size(entries, None)
        rank = min(dimensions, max(_BUDGET_RANK, spec.parameters // (entries + dimensions)))
    room = spec.parameters // dimensions if rank >= dimensions else (spec.parameters - rank * dimensions) // rank
    if room < 32:
        raise InputError(
            f"{spec.parameters:,} parameters are too few for {rank} numbers an entry",
            where="student.parameters",
            fix="give a smaller `rank` or more parameters",
        )
    return Size(min(room, spec.vocabulary_size or room), rank)


def sif_weights(counts: np.ndarray) -> np.ndarray:
    """Weights `(V,)` from counts `(V,)`: rare entries more, 1 on average over running text. All ones without counts."""
    total = counts.sum()
    if not total:
        return np.ones(len(counts), dtype=np.float32)
    share = counts / total
    weights = _SIF / (_SIF + share)
    return np.asarray(weights / (weights * share).sum(), dtype=np.float32)


def factorised(
    vectors: np.ndarray, weights: np.ndarray, counts: np.ndarray, rank: int
) -> tuple[np.ndarray, np.ndarray]:
    """Table `(V, r)` and head `(d, r)` with `table @ head.T` close to `vectors (V, d)`.

    The best rank-r fit with row i's squared error counted `(counts[i] + 1) * weights[i]**2` times: the head is made of
    the leading eigenvectors of the weighted `(d, d)` second moment, and rows are projected on them.
    """
    scaled = vectors.astype(np.float64) * (np.sqrt(counts + 1.0) * weights)[:, None]
    _, directions = np.linalg.eigh(scaled.T @ scaled)
    head = np.ascontiguousarray(directions[:, ::-1][:, :rank])
    return (vectors @ head).astype(np.float32), head.astype(np.float32)


def _base(spec: StudentSpec, anatomy: Anatomy, texts: Texts) -> tuple[Tokenizer, np.ndarray, bool]:
    """The tokenizer to start from, its counts, and whether it is the teacher's own.

    A teacher's that knows too little of the texts is left aside unless the recipe asks for it.
    """
    own = anatomy.tokenizer
    if own is None and spec.vocabulary in ("teacher", "trimmed"):
        raise InputError(
            "the teacher has no fast tokenizer on this machine",
            where="student.vocabulary",
            fix="use `vocabulary: corpus`",
        )
    if own is not None and spec.vocabulary != "corpus":
        base = bare(own)
        counts = token_counts(base, texts)
        unknown = unknown_id(base)
        share = counts[unknown] / max(1, counts.sum()) if unknown is not None else 0.0
        if spec.vocabulary is not None or share <= _MOST_UNKNOWN:
            if share > _MOST_UNKNOWN:
                say(f"student: the teacher's vocabulary does not know {share:.0%} of the tokens of these texts")
            return base, counts, True
        say(f"student: the teacher's vocabulary does not know {share:.0%} of the texts' tokens; training one on them")
    size = fit(spec, anatomy.dimensions, spec.vocabulary_size or CORPUS_SIZE).entries or CORPUS_SIZE
    base = corpus_tokenizer(texts, size - spec.phrases)
    return base, token_counts(base, texts), False


def _vectors(anatomy: Anatomy, tokenizer: Tokenizer, old: np.ndarray, seed: int) -> np.ndarray:
    """First vector of every entry `(V, d)`.

    The first `len(old)` entries are the teacher's entries `old`; the others are read by the teacher as texts. A service
    is asked for all of them as texts; where there is only a file of vectors, chance decides.
    """
    count = tokenizer.get_vocab_size()
    if anatomy.modules:
        teacher = anatomy.tokenizer
        texts = [entry_text(tokenizer, i) for i in range(len(old), count)]
        read = teacher.encode_batch_fast(texts, add_special_tokens=False) if teacher is not None else []
        return entry_vectors(anatomy, [*([int(i)] for i in old), *(encoding.ids for encoding in read)])
    if anatomy.role == "query" and anatomy.teacher.can_encode_queries:
        return _asked(anatomy, [entry_text(tokenizer, i) for i in range(count)])
    say("student: the teacher encodes nothing here, so entries start from chance")
    chance = np.random.default_rng(seed).standard_normal((count, anatomy.dimensions), dtype=np.float32)
    return chance / np.float32(np.sqrt(anatomy.dimensions))


def _asked(anatomy: Anatomy, texts: list[str]) -> np.ndarray:
    out = np.zeros((len(texts), anatomy.dimensions), dtype=np.float32)
    rows = [row for row, text in enumerate(texts) if text]
    with meter("student: first vectors of vocabulary entries", len(rows), "entries") as progress:
        for start in range(0, len(rows), _ENTRIES_PER_CALL):
            part = rows[start : start + _ENTRIES_PER_CALL]
            out[part] = anatomy.teacher.encode([texts[row] for row in part], anatomy.role)
            progress.advance(len(part))
    return out
