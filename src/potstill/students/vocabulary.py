"""Which entries a student has: the teacher's, those that occur, frequent phrases, or a tokenizer of the corpus."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..texts import whole
from .counting import Texts

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CORPUS_SIZE = 30_000
_MOST_CHARACTERS = 6_000
_LONGEST_ENTRY = 16


def unknown_id(tokenizer: Tokenizer) -> int | None:
    """The id that stands for what the tokenizer does not know; None where it knows everything (bytes)."""
    model = json.loads(tokenizer.to_str())["model"]
    if model.get("type") == "Unigram":
        found = model.get("unk_id")
        return None if found is None or model.get("byte_fallback") else int(found)
    token = model.get("unk_token")
    return None if token is None else tokenizer.token_to_id(token)


def entry_text(tokenizer: Tokenizer, entry: int) -> str:
    """What an entry stands for, as a text: without the marks of word starts and continuations."""
    token = tokenizer.id_to_token(entry) or ""
    if tokenizer.decoder is not None:  # undoes whatever stands for a space, and byte-level letters
        return str(tokenizer.decoder.decode([token])).removeprefix("##").strip()
    return token.removeprefix("##").replace("▁", " ").strip()


def with_phrases(tokenizer: Tokenizer, phrases: Sequence[str]) -> Tokenizer:
    """A tokenizer with phrases as entries of their own, after all others.

    They are *added tokens* of the tokenizers library: found by one automaton (leftmost, longest) in the normalised
    text, so upper case and accents matter no more than for other entries, and only between word boundaries. Plain
    `tokenizers` and sentence-transformers read them from `tokenizer.json`; 30,000 of them cost a query less than ten
    microseconds. The space before a phrase belongs to it, for tokenizers that would make an entry of it.
    """
    from tokenizers import AddedToken, Tokenizer

    copy = Tokenizer.from_str(tokenizer.to_str())
    known = copy.get_vocab(with_added_tokens=True)
    fresh = [phrase for phrase in dict.fromkeys(phrases) if phrase not in known]
    copy.add_tokens([AddedToken(phrase, single_word=True, lstrip=True, normalized=True) for phrase in fresh])
    return copy


def trimmed(tokenizer: Tokenizer, keep: np.ndarray, *, keep_special: bool) -> tuple[Tokenizer, np.ndarray]:
    """A tokenizer with some of the entries, numbered afresh, and the old id of each.

    A text that the full tokenizer cuts into kept entries only is cut into the same entries: the longest match
    (WordPiece), the best path (Unigram) and the merges that lead to it (BPE) are all still there. Any other word falls
    apart into smaller kept entries, or is unknown.

    Args:
        tokenizer: WordPiece, Unigram, BPE or WordLevel.
        keep: bool `(V,)`; the unknown entry, and for BPE whatever a kept entry is merged from, are kept besides.
        keep_special: keep special tokens (a transformer needs them, a static table does not).

    Returns:
        The tokenizer and old ids int64 `(V',)`, ascending.
    """
    from tokenizers import Tokenizer

    state = json.loads(tokenizer.to_str())
    model = state["model"]
    kind = model.get("type")
    if kind not in ("WordPiece", "Unigram", "BPE", "WordLevel"):
        raise InputError(f"cannot trim a tokenizer of kind {kind}", fix="use `vocabulary: corpus`")
    wanted = np.array(keep, dtype=bool)
    unknown = unknown_id(tokenizer)
    if unknown is not None:
        wanted[unknown] = True
    for token in state["added_tokens"]:
        wanted[token["id"]] = keep_special or not token["special"] or token["id"] == unknown
    if kind == "BPE":
        _keep_ancestors(model, wanted)
        if model.get("byte_fallback"):
            for token, number in model["vocab"].items():
                wanted[number] |= token.startswith("<0x")
    old = np.flatnonzero(wanted)
    new = {int(number): place for place, number in enumerate(old)}
    if kind == "Unigram":
        model["vocab"] = [model["vocab"][number] for number in old if number < len(model["vocab"])]
        model["unk_id"] = None if unknown is None else new[unknown]
    else:
        model["vocab"] = {token: new[number] for token, number in model["vocab"].items() if number in new}
    if kind == "BPE":
        model["merges"] = [pair for pair in model["merges"] if all(part in model["vocab"] for part in _merged(pair))]
    state["added_tokens"] = [{**token, "id": new[token["id"]]} for token in state["added_tokens"] if token["id"] in new]
    state["post_processor"] = _renumbered(state.get("post_processor"), new) if keep_special else None
    return Tokenizer.from_str(json.dumps(state)), old


def occurring(tokenizer: Tokenizer, counts: np.ndarray, limit: int | None = None) -> np.ndarray:
    """Entries worth keeping, bool `(V,)`: those that occur, and one-character entries, that no word is lost whole.

    One-character entries are kept where their character is in an entry that occurs, or is an ASCII letter or digit.
    With a `limit` the most frequent are kept, one-character entries first.
    """
    tokens = [tokenizer.id_to_token(i) or "" for i in range(len(counts))]
    alphabet = set("abcdefghijklmnopqrstuvwxyz0123456789")
    for i in np.flatnonzero(counts):
        alphabet.update(tokens[i])
    basic = np.array([_single(token) in alphabet for token in tokens])
    unknown = unknown_id(tokenizer)
    if unknown is not None:
        basic[unknown] = True
        counts = counts.copy()
        counts[unknown] = counts.sum() + 1  # first of all: no tokenizer goes without it
    keep = basic | (counts > 0)
    if limit is not None and keep.sum() > limit:
        order = np.lexsort((-counts, ~basic))
        order = order[keep[order]]
        keep = np.zeros(len(counts), dtype=bool)
        keep[order[:limit]] = True
    return keep


def trimmed_to(
    tokenizer: Tokenizer, counts: np.ndarray, limit: int | None, *, keep_special: bool
) -> tuple[Tokenizer, np.ndarray]:
    """A tokenizer with the entries that occur, at most `limit` of them, and the old id of each; see `trimmed`."""
    room = limit
    while True:
        small, old = trimmed(tokenizer, occurring(tokenizer, counts, room), keep_special=keep_special)
        if limit is None or room is None or len(old) <= limit or room <= 1:
            return small, old
        room = max(1, room - (len(old) - limit))  # what kept entries are made of took more room than there is


def corpus_tokenizer(texts: Texts, size: int = CORPUS_SIZE, *, special: bool = False) -> Tokenizer:
    """Train a byte-pair tokenizer on the texts: NFKC, lower case, cut at spaces and punctuation.

    Nothing in it needs spaces between words, so it serves Japanese and Chinese as it does English; it trains twenty
    times faster on them than a Unigram model and cuts a query five times faster. `special` adds `[PAD]`, and `[CLS]`
    and `[SEP]` around every text, for a transformer.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    # A mark stands where a space stood and at the start, so that a whole word and the same letters inside one differ.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    tokenizer.decoder = decoders.Metaspace()
    limit = max(1, min(_MOST_CHARACTERS, size // 2))
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=_alphabet(tokenizer, texts, limit),
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"] if special else ["[UNK]"],
        limit_alphabet=limit,
        max_token_length=_LONGEST_ENTRY,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    if special:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    return tokenizer


def _alphabet(tokenizer: Tokenizer, texts: Texts, limit: int) -> list[str]:
    """The `limit` most frequent characters where there are more of them, else none: the trainer then takes all.

    Left to itself the trainer chooses by chance among characters that are equally rare, anew in every process.
    """
    counts: Counter[str] = Counter()
    for text in texts():
        words = tokenizer.normalizer.normalize_str(whole(text)).split(" ")
        counts.update("".join(words))
        counts["▁"] += len(words)
    return sorted(counts, key=lambda one: (-counts[one], one))[:limit] if len(counts) > limit else []


def _single(token: str) -> str:
    """The character of a one-character entry, its mark of place aside; else ""."""
    bare = token.removeprefix("##") if len(token) > 2 else token
    bare = bare.removeprefix("▁").removeprefix("Ġ") if len(bare) > 1 else bare
    return bare if len(bare) == 1 else ""


def _merged(pair: Any) -> tuple[str, str, str]:
    left, right = pair.split(" ") if isinstance(pair, str) else pair
    return left, right, left + right


def _keep_ancestors(model: dict[str, Any], wanted: np.ndarray) -> None:
    """Whatever kept BPE entries are merged from. Merges come in order of rank, so one backward sweep finds all."""
    vocabulary = model["vocab"]
    for pair in reversed(model["merges"]):
        left, right, whole = _merged(pair)
        if whole in vocabulary and wanted[vocabulary[whole]]:
            wanted[vocabulary[left]] = wanted[vocabulary[right]] = True


def _renumbered(processor: Any, new: dict[int, int]) -> Any:
    """A post-processor with new ids for its special tokens (template, BERT and RoBERTa forms, and sequences)."""
    if not isinstance(processor, dict):
        return processor
    out = dict(processor)
    if "processors" in out:
        out["processors"] = [_renumbered(part, new) for part in out["processors"]]
    if isinstance(out.get("special_tokens"), dict):
        out["special_tokens"] = {
            name: {**entry, "ids": [new[i] for i in entry["ids"]]} for name, entry in out["special_tokens"].items()
        }
    for name in ("sep", "cls"):
        if isinstance(out.get(name), list):
            token, number = out[name]
            out[name] = [token, new[number]]
    return out
