from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from report_run import edit

from potstill.errors import InputError
from potstill.report import model_card, results_picture, write_card


def front_matter(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_the_card_lies_beside_the_student_and_says_what_a_hub_reads(run: Path) -> None:
    out = write_card(run)
    assert out == run / "student" / "README.md"
    data = front_matter(out.read_text(encoding="utf-8"))
    assert data["library_name"] == "sentence-transformers"
    assert data["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert data["license"] == "other"
    result = data["model-index"][0]["results"][0]
    assert result["dataset"] == {"type": "scifact", "name": "SciFact", "split": "test"}
    assert {"type": "ndcg_at_10", "name": "nDCG@10", "value": 0.6393} in result["metrics"]
    assert {"type": "retention_ndcg_at_10", "name": "nDCG@10 kept", "value": 0.991} in result["metrics"]


def test_the_hub_client_reads_the_card(run: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard(model_card(run))
    assert card.data.model_name == "all-MiniLM-L6-v2 for SciFact, distilled (static)"
    assert len(card.data.eval_results) == 8


def test_the_card_shows_use_teacher_evaluation_and_limits(run: Path) -> None:
    card = model_card(run).replace("\u00a0", " ")
    for said in (
        'model = SentenceTransformer("path/to/student")',
        'potstill.load("path/to/student").encode_queries(',
        "- Teacher: `sentence-transformers/all-MiniLM-L6-v2`",
        "revision `c9745ed1`",
        "Index: document vectors made by this teacher",
        "| nDCG@10 | 0.645 (0.599–0.690) | 0.639 (0.592–0.685) | 99.1 % (97.2–101.0 %) | 0.31 |",
        "| R@100 | 0.925 (0.879–0.970) | 0.902 (0.855–0.948) | 97.5 % (95.8–99.1 %) | &lt; 0.001 | the loss is real |",
        "- keywords: 6,321, such as `metformin lifespan mice`, `PD-1 microbiota`",
        "## Limits",
    ):
        assert said in card, said
    assert card.count("\n## ") == 6


def test_an_unjudged_card_says_so_and_claims_no_metric(unjudged: Path) -> None:
    card = model_card(unjudged)
    assert "Nothing was judged" in card
    assert "model-index" not in front_matter(card)
    assert "nDCG" not in card
    assert "500 held-out generated queries" in card


def test_a_folder_is_no_base_model(run: Path) -> None:
    edit(run / "run.json", lambda r: r["teacher"].update(name="/models/mine"))
    data = front_matter(model_card(run))
    assert "base_model" not in data
    assert data["teacher"] == "/models/mine"


def test_shared_towers_do_not_promise_the_teachers_index(run: Path) -> None:
    edit(run / "run.json", lambda r: r.update(towers="shared"))
    card = model_card(run)
    assert "Index: document vectors made by this teacher" not in card
    assert "For documents use the teacher" not in card


def test_texts_cannot_break_out_of_the_card(run: Path) -> None:
    evil = "a `tick` | <b>bold</b>\n# heading"
    edit(run / "run.json", lambda r: r["queries"]["examples"].update(titles=[evil]))
    edit(run / "run.json", lambda r: r["collection"].update(name=evil))
    edit(run / "run.json", lambda r: r["warnings"].append(evil))
    card = model_card(run)
    assert front_matter(card)["model-index"]
    assert "\n# heading" not in card
    assert "`` a `tick` | <b>bold</b> # heading ``" in card
    assert "- a \\`tick\\` \\| &lt;b>bold&lt;/b> # heading" in card


def test_a_card_from_almost_nothing_is_still_a_card(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}", encoding="utf-8")
    card = model_card(tmp_path)
    assert front_matter(card)["library_name"] == "sentence-transformers"
    assert "Nothing was judged" in card


def test_a_card_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        write_card(tmp_path)


def test_the_picture_as_svg_is_the_same_each_time(run: Path, tmp_path: Path) -> None:
    first = results_picture(run, tmp_path / "a.svg").read_bytes()
    assert first == results_picture(run, tmp_path / "b.svg").read_bytes()
    ElementTree.fromstring(first)


def test_the_picture_as_png(run: Path, tmp_path: Path) -> None:
    assert results_picture(run, tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_of_nothing_is_refused_and_nothing_is_written(run: Path, unjudged: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="nothing was judged"):
        results_picture(unjudged, out / "a.svg")
    with pytest.raises(InputError, match=r"\.svg or \.png"):
        results_picture(run, out / "a.gif")
    edit(run / "evaluation.json", lambda e: e.pop("cost"))
    with pytest.raises(InputError, match="costs were not measured"):
        results_picture(run, out / "a.svg")
    assert not out.exists()


def test_a_folder_whose_name_looks_like_an_id_is_no_base_model(run: Path) -> None:
    def rename(record: dict) -> None:
        record["teacher"]["name"] = "models/minilm"
        record["teacher"]["fingerprint"]["revision"] = "blake2b:00ff"

    edit(run / "run.json", rename)
    assert "base_model" not in front_matter(model_card(run))
