"""Teachers other than one model: an existing index, two towers, a service; and collections without judgments."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from loopback_service import running
from pipeline_runs import check_evaluation, check_run, quick_run, read
from sentence_transformers import SentenceTransformer

import potstill
from potstill.errors import InputError
from potstill.evaluation import measure_costs
from potstill.report.table import evaluation_table


def write_index(folder: Path, encoder: Path, collection: Path) -> dict[str, bytes]:
    """`vectors.npy` and its ids, shuffled, with two rows that no document of the collection has; gives the bytes."""
    corpus = [json.loads(line) for line in (collection / "corpus.jsonl").read_text().splitlines()]
    texts = [f"{row['title']} {row['text']}".strip() for row in corpus]
    vectors = SentenceTransformer(str(encoder), device="cpu").encode([*texts, "no document", "nor this"])
    ids = [*(row["_id"] for row in corpus), "x1", "x2"]
    order = np.random.default_rng(3).permutation(len(ids))
    folder.mkdir()
    np.save(folder / "vectors.npy", vectors[order])
    (folder / "vectors.ids.txt").write_text("".join(f"{ids[i]}\n" for i in order))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_existing_index_is_searched_unchanged(
    tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path, static_run
):
    before = write_index(tmp_path / "index", tiny_encoder, tiny_collection)
    teacher = {"model": str(tiny_encoder), "index": str(tmp_path / "index" / "vectors.npy")}
    run = tmp_path / "run"
    found = quick_run(run, collection=tiny_collection, teacher=teacher, signals=signals)
    record = check_run(run, found)
    assert {path.name: path.read_bytes() for path in (tmp_path / "index").iterdir()} == before
    assert record["teacher"]["documents_cut"] is None
    assert record["warnings"] == []
    # The same vectors as the model's own: the teacher's measures are those of a run without the index.
    assert found["systems"]["teacher"] == pytest.approx(static_run[1]["systems"]["teacher"], abs=1e-9)
    assert read(run / "student" / "potstill.json")["teacher"]["index"] == teacher["index"]
    # The user's own way: the student's query vectors against her matrix.
    ids = (tmp_path / "index" / "vectors.ids.txt").read_text().split()
    matrix = np.load(tmp_path / "index" / "vectors.npy")
    rows = [json.loads(line) for line in (run / "per_query.jsonl").read_text().splitlines()]
    scores = potstill.load(run).encode_queries([row["text"] for row in rows]) @ matrix.T
    scores[:, [ids.index("x1"), ids.index("x2")]] = -np.inf
    assert [ids[i] for i in scores.argmax(axis=1)] == [row["student_top"][0][0] for row in rows]


@pytest.mark.parametrize("form", ["parquet", "safetensors"])
def test_other_forms_of_an_index_give_the_same_run(
    form: str, tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path, static_run
):
    write_index(tmp_path / "index", tiny_encoder, tiny_collection)
    ids = (tmp_path / "index" / "vectors.ids.txt").read_text().split()
    matrix = np.load(tmp_path / "index" / "vectors.npy")
    teacher = {"model": str(tiny_encoder), "index": str(tmp_path / f"vectors.{form}")}
    if form == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"id": ids, "vector": list(matrix)}), teacher["index"])
    else:
        from safetensors.numpy import save_file

        save_file({"vectors": matrix}, teacher["index"])
        teacher["index_ids"] = str(tmp_path / "index" / "vectors.ids.txt")
    run = tmp_path / "run"
    found = quick_run(run, collection=tiny_collection, teacher=teacher, signals=signals)
    check_run(run, found)
    assert found["systems"]["teacher"] == pytest.approx(static_run[1]["systems"]["teacher"], abs=1e-9)


def test_an_index_of_another_model_is_warned_of(
    tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path
):
    from tiny import make_tiny_encoder

    write_index(tmp_path / "index", make_tiny_encoder(tmp_path / "other", seed=9), tiny_collection)
    teacher = {"model": str(tiny_encoder), "index": str(tmp_path / "index" / "vectors.npy")}
    found = quick_run(tmp_path / "run", collection=tiny_collection, teacher=teacher, signals=signals)
    record = check_run(tmp_path / "run", found)
    assert any("another model" in warning for warning in record["warnings"])


def test_index_alone_cannot_teach_queries(tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path):
    write_index(tmp_path / "index", tiny_encoder, tiny_collection)
    teacher = {"index": str(tmp_path / "index" / "vectors.npy")}
    with pytest.raises(InputError, match=r"cannot encode the training queries[\s\S]*teacher\.model"):
        quick_run(tmp_path / "run", collection=tiny_collection, teacher=teacher, signals=signals)
    assert not (tmp_path / "run").exists()


def test_two_models(tmp_path: Path, tiny_collection: Path, tiny_encoder: Path, signals: Path):
    from tiny import make_tiny_encoder

    documents = make_tiny_encoder(tmp_path / "documents", seed=4)
    teacher = {"query_model": str(tiny_encoder), "document_model": str(documents)}
    run = tmp_path / "run"
    found = quick_run(run, collection=tiny_collection, teacher=teacher, signals=signals)
    check_run(run, found)
    texts = ["the court and the judge"]
    own = SentenceTransformer(str(documents), device="cpu").encode(texts)
    assert np.allclose(potstill.load(run).encode_documents(texts), own, atol=1e-5)


@pytest.mark.parametrize("api", ["openai", "tei"])
def test_service(api: str, tmp_path: Path, tiny_collection: Path, monkeypatch: pytest.MonkeyPatch):
    few = partial(measure_costs, latency_queries=4, turn=2, batch_queries=8, rounds=1)
    monkeypatch.setattr(import_module("potstill.pipeline.assess"), "measure_costs", few)
    run = tmp_path / "run"
    with running() as service:
        url = service.url + ("/v1" if api == "openai" else "")
        teacher = {"url": url, "model": "any", "api": api}
        settings = ["evaluate.cost=true", "student.vocabulary_size=300"]
        found = quick_run(run, collection=tiny_collection, teacher=teacher, signals=tmp_path / "own", settings=settings)
        asked = len(service.requests)
        again = quick_run(
            tmp_path / "again",
            collection=tiny_collection,
            teacher=teacher,
            signals=tmp_path / "own",
            settings=["student.vocabulary_size=300"],
        )
        new = [t for r in service.requests[asked:] for t in (r["json"].get("input") or r["json"].get("inputs"))]
    record = check_run(run, found)
    assert record["teacher"]["dimensions"] == 8
    assert found["cost"]["teacher"]["parameters"] is None
    assert "queries/s" in evaluation_table(found)
    assert again["systems"] == found["systems"]
    corpus = [json.loads(line)["text"] for line in (tiny_collection / "corpus.jsonl").read_text().splitlines()]
    assert not [text for text in new if any(document in text for document in corpus)], "documents were asked for twice"


def test_nothing_judged(tmp_path: Path, corpus_only: Path, tiny_encoder: Path, signals: Path):
    run = tmp_path / "run"
    settings = ["evaluate.cost=true", "evaluate.prefixes=[16]"]
    found = quick_run(run, collection=corpus_only, teacher=tiny_encoder, signals=signals, settings=settings)
    check_run(run, found, judged=False)
    assert found["prefixes"]["16"]["retention"] == {}
    for file in (run / "report.html", run / "student" / "README.md"):
        assert "othing was judged" in file.read_text(encoding="utf-8"), file
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in (run / "student").rglob("*.safetensors")}
    (run / "report.html").unlink()
    again = quick_run(
        run, collection=corpus_only, teacher=tiny_encoder, signals=signals, settings=settings, resume=True
    )
    check_evaluation(again, judged=False)
    assert again["agreement"] == found["agreement"]
    assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in before} == before
    assert (run / "report.html").is_file()


def test_nothing_judged_with_a_document_tower(tmp_path: Path, corpus_only: Path, tiny_encoder: Path, signals: Path):
    found = quick_run(tmp_path / "run", collection=corpus_only, teacher=tiny_encoder, signals=signals, towers="shared")
    check_run(tmp_path / "run", found, judged=False)
    assert 0 < found["agreement"]["overlap@10"]["value"] <= 1
