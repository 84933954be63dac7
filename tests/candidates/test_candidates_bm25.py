"""BM25: the formula, analysis of words and bigrams, search, and the published figures on real collections."""

import gzip
import json
import math

import numpy as np
import pytest

from potstill.candidates import Bm25Index
from potstill.candidates.bm25 import _bigrams
from potstill.errors import InputError

DOCUMENTS = [
    "The cat sat on the mat",
    "Dogs and cats are running",
    "A dog ran; the dog barked at the running dogs",
    "",
    "Nothing of the kind whatsoever",
]


def test_scores_are_lucenes_formula():
    index = Bm25Index(DOCUMENTS, k1=0.9, b=0.4)
    # Stemmed, stop words gone: document 2 is "dog ran dog bark run dog" (the, a, at left out).
    lengths = [3, 3, 6, 0, 3]  # cat sat mat | dog cat run | dog ran dog bark run dog | | noth kind whatsoev
    df, tf = 2, 3
    idf = math.log(1 + (5 - df + 0.5) / (df + 0.5))
    want = idf * tf / (tf + 0.9 * (1 - 0.4 + 0.4 * lengths[2] / np.mean(lengths)))
    assert index.scores("dogs")[2] == pytest.approx(want, rel=1e-4)
    np.testing.assert_allclose(index.scores("dogs dogs"), 2 * index.scores("dogs"), rtol=1e-6)


def test_search_finds_only_documents_that_share_a_word():
    index = Bm25Index(DOCUMENTS)
    rows, scores = index.search(["running cats", "zebra", "the", ""], 4)
    assert rows[0].tolist()[:1] == [1]
    assert sorted(rows[0][rows[0] >= 0].tolist()) == [0, 1, 2]
    assert (rows[1:] == -1).all()
    assert (scores[rows < 0] == -np.inf).all()
    assert (np.diff(scores[0][:3]) <= 0).all()
    rows, _ = index.search(["running cats"], 4, exclude=[np.array([1])])
    assert 1 not in rows


def test_ties_go_to_the_lower_row():
    rows, _ = Bm25Index(["same words"] * 6 + ["other text"]).search(["same"], 3)
    assert rows.tolist() == [[0, 1, 2]]


def test_collections_without_words():
    for documents in ([], ["", "!?"]):
        index = Bm25Index(documents)
        assert index.documents == len(documents)
        rows, _ = index.search(["anything"], 2)
        assert rows.tolist() == [[-1, -1]]


def test_other_languages():
    german = Bm25Index(["Die Häuser stehen am Fluss", "Der Hund bellt"], language="german")
    assert german.search(["das Haus"], 1)[0].tolist() == [[0]]
    assert german.scores("stehe")[0] > 0
    assert german.scores("die der am").max() == 0
    plain = Bm25Index(["running dogs", "a dog"], language=None)
    assert plain.scores("dogs").tolist()[1] == 0
    with pytest.raises(InputError, match=r"'klingon'[\s\S]*english"):
        Bm25Index(["x"], language="klingon")


def test_bigrams():
    assert _bigrams("東京都に住む") == ["東京", "京都", "都に", "に住", "住む"]
    assert _bigrams("猫") == ["猫"]
    assert _bigrams("กินข้าว") == ["กิ", "ิน", "นข", "ข้", "้า", "าว"]
    # Half-width kana and full-width letters are brought to their usual form; words of other scripts stay whole.
    assert _bigrams("ﾃｽﾄ ＡＢＣ、昭和52年 猫") == ["テス", "スト", "abc", "昭和", "和5", "52", "2年", "猫"]
    index = Bm25Index(["東京都に住む人", "京都の寺", "大阪"], analysis="bigrams")
    assert index.settings["language"] is None
    rows, _ = index.search(["京都の古い寺"], 3)
    assert rows.tolist() == [[1, 0, -1]]


def test_two_processes_give_the_same_scores(tmp_path):
    """Word numbers must not follow the interpreter's hash seed."""
    import subprocess
    import sys

    program = (
        "from potstill.candidates import Bm25Index\n"
        "texts = [' '.join(f'w{(i * j) % 37}' for j in range(9)) for i in range(50)]\n"
        "rows, scores = Bm25Index(texts).search(texts, 5)\n"
        "import hashlib; print(hashlib.sha256(rows.tobytes() + scores.tobytes()).hexdigest())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_bad_input():
    with pytest.raises(ValueError, match="k must be"):
        Bm25Index(["a b"]).search(["a"], 0)
    with pytest.raises(ValueError, match="exclude names"):
        Bm25Index(["a b"]).search(["a"], 1, exclude=[])


def _lines(folder, name):
    packed = folder / f"{name}.jsonl.gz"
    with gzip.open(packed, "rt", encoding="utf-8") if packed.exists() else packed.with_suffix("").open() as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize(
    ("name", "analysis", "want"),
    [
        ("scifact", "words", 0.676),
        ("nfcorpus", "words", 0.318),
        ("cranfield", "words", 0.404),
        pytest.param("jaquad-ja", "bigrams", 0.885, marks=pytest.mark.heavy),
    ],
)
def test_ndcg_on_real_collections(data, name, analysis, want):
    """nDCG@10 as others measure it with the same settings."""
    folder = data / name
    corpus = _lines(folder, "corpus")
    ids = [d["_id"] for d in corpus]
    index = Bm25Index((f"{d.get('title', '')} {d['text']}".strip() for d in corpus), analysis=analysis)
    queries = {q["_id"]: q["text"] for q in _lines(folder, "queries")}
    qrels: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        qrels.setdefault(query, {})[document] = int(grade)
    rows, _ = index.search([queries[q] for q in qrels], 10)
    values = []
    for judged, found in zip(qrels.values(), rows, strict=True):
        gains = [judged.get(ids[r], 0) / math.log2(i + 2) for i, r in enumerate(found) if r >= 0]
        ideal = sorted(judged.values(), reverse=True)[:10]
        values.append(sum(gains) / max(sum(g / math.log2(i + 2) for i, g in enumerate(ideal)), 1e-9))
    assert np.mean(values) == pytest.approx(want, abs=0.004)
