import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_run import edit, write_lines

from potstill.errors import InputError
from potstill.report import model_card, render_report, write_report

VOID = {"meta", "br", "hr", "img", "input", "link"}
EVIL = '<script>alert("x")</script> & "quoted"'


class Checker(HTMLParser):
    """Balanced tags, the text that a reader sees, and every attribute."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\u00a0", " ").split())


def test_the_page_says_what_the_files_say(run: Path) -> None:
    out = write_report(run)
    assert out == run / "report.html"
    text = Checker(out.read_text(encoding="utf-8")).text
    heading = "Keeps 99.1 % of all-MiniLM-L6-v2’s nDCG@10 (95 % interval 97.2–101.0 %) at 1/310 of its query time"
    assert heading in text.replace(" )", ")")
    for said in (
        "No significant difference was found (p = 0.31, paired randomisation test)",
        "a loss of up to 2.8 % lies within the interval",
        "300 judged queries of SciFact (test split) among 5,183 documents",
        "72.4 %",
        "the loss is real p < 0.001",
        "0.645 0.599–0.690",
        "46.2 MB",
        "48 µs",
        "31,450",
        "5,183 documents from examples/scifact. 38,412 training queries without labels.",
        "Kept out of training: 3 evaluated queries, 1,588 duplicates.",
        "metformin lifespan mice",
        "2 documents have an empty text and are kept: 4983, 5836",
        "412 documents are longer than the teacher’s 256 tokens",
        "2,000 updates, 4 epochs",
        "The best validation score was at step 1,600",
        "sentence-transformers 6.2.0",
        "learning_rate: 0.02",
        "AP: over the first 100 documents of each query",
        "128 93.1 % 90.0–96.2 % 61.0 % 59.0–63.0 %",
        "412 of them are longer than the teacher’s limit",
        "AMD EPYC 9554, 2 cores, 16 GiB",
        "lie 0.412 from the teacher’s on average (95 % interval 0.396–0.424): whatever the direction of these errors,",
        "proves the order of 3.1 % of the pairs in the teacher’s top 10, while 81.2 % do keep it. Half of the pairs",
        "Order of one of its top 10 and one of the rest of its top 100 12.0 % 11.5–12.4 % 95.1 %",
        "Change of the loss at temperature 0.05 at most 16.480 15.821–16.974 0.333",
        "55.1 % of the squared error lies in the 166 of 384 directions that hold 90 % of the documents’ variance",
        "(43.2 % for an error without a preferred direction), and it moves score differences 1.28 times as far",
        "total 6 min 31 s",
    ):
        assert said in text, said
    assert "Left out of this page" not in text


def test_the_page_loads_nothing_and_runs_nothing(run: Path) -> None:
    page = render_report(run)
    checked = Checker(page)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & set(checked.tags)
    names = {name for name, _ in checked.attributes}
    assert not {"src", "href", "srcset", "action", "background"} & names
    assert not [name for name in names if name.startswith("on")]
    assert not re.search(r"url\(|@import", page)
    assert "default-src 'none'" in page


def test_the_page_can_be_read_by_ear(run: Path) -> None:
    page = render_report(run)
    checked = Checker(page)
    assert checked.tags.count("h1") == 1
    assert checked.tags.count("table") == checked.tags.count("caption")
    ids = [value for name, value in checked.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value for name, value in checked.attributes if name == "aria-labelledby"} <= set(ids)
    for drawing in re.findall(r"<svg.*?</svg>", page):
        ElementTree.fromstring(drawing)
        assert 'aria-hidden="true"' in drawing or re.search(r'aria-label="[^"]{10,}"', drawing)


def test_markup_in_any_text_is_shown_as_text(run: Path) -> None:
    edit(run / "documents.json", lambda d: d.update(dict.fromkeys(d, EVIL)))
    edit(run / "run.json", lambda r: r["warnings"].append(EVIL))
    edit(run / "run.json", lambda r: r["collection"].update(name=EVIL, source=EVIL, notes=[EVIL]))
    edit(run / "run.json", lambda r: r["teacher"].update(name=EVIL))
    edit(run / "run.json", lambda r: r["queries"]["examples"].update(titles=[EVIL]))
    edit(run / "evaluation.json", lambda e: e["systems"].update({EVIL: {"nDCG@10": 0.5}}))
    edit(run / "evaluation.json", lambda e: e["cost"].update({EVIL: {"query_ms_p50": 1.0}}))
    (run / "recipe.yaml").write_text(EVIL, encoding="utf-8")
    rows = [json.loads(line) for line in (run / "per_query.jsonl").read_text(encoding="utf-8").splitlines()]
    write_lines(run / "per_query.jsonl", [row | {"text": EVIL} for row in rows])
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    write_lines(run / "metrics.jsonl", [line | {"terms": {EVIL: 1.0, "b": 2.0}} for line in lines])
    page = render_report(run)
    checked = Checker(page)
    assert "script" not in checked.tags
    assert checked.text.count('<script>alert("x")</script>') > 20
    for drawing in re.findall(r"<svg.*?</svg>", page):
        ElementTree.fromstring(drawing)


def test_lone_surrogates_do_not_stop_the_page(run: Path) -> None:
    edit(run / "run.json", lambda r: r["warnings"].append("half of a pair: \ud83d"))
    assert "half of a pair: ?" in write_report(run).read_text(encoding="utf-8")


def test_losses_come_first_and_largest_first(run: Path) -> None:
    page = Checker(render_report(run)).text
    losses, wins = page.split("Largest wins")
    found = [float(x.replace("−", "-")) for x in re.findall(r"−\d\.\d\d(?= [A-Z])", losses.split("Largest losses")[1])]
    assert len(found) == 6
    assert found == sorted(found)
    gained = [float(x) for x in re.findall(r"\+\d\.\d\d(?= [A-Z])", wins)]
    assert len(gained) == 6
    assert gained == sorted(gained, reverse=True)


def test_counts_of_better_and_worse_are_those_of_the_file(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "per_query.jsonl").read_text(encoding="utf-8").splitlines()]
    moves = [row["measures"]["student"]["nDCG@10"] - row["measures"]["teacher"]["nDCG@10"] for row in rows]
    worse, better = sum(m < 0 for m in moves), sum(m > 0 for m in moves)
    assert worse
    assert better
    text = Checker(render_report(run)).text
    assert f"Of 120 queries, {worse} do worse with the student, {better} do better and {120 - worse - better}" in text


def test_relevant_documents_carry_both_ranks(run: Path) -> None:
    row = {
        "query_id": "q",
        "text": "a query",
        "measures": {"teacher": {"nDCG@10": 1.0}, "student": {"nDCG@10": 0.0}},
        "teacher_top": [["d1", 0.9], ["d2", 0.8]],
        "student_top": [["d2", 0.7], ["d3", 0.6]],
        "relevant": {"d1": 2, "d3": 0},
    }
    write_lines(run / "per_query.jsonl", [row])
    text = Checker(render_report(run)).text
    assert "teacher #1, student not in top 2" in text
    assert "Of 1 queries" not in text
    assert "1 does worse" in text
    assert "Largest wins" not in text


def test_an_unjudged_run_says_so_and_shows_agreement(unjudged: Path) -> None:
    text = Checker(render_report(unjudged)).text
    assert "Finds 72.4 % of what all-MiniLM-L6-v2 puts in its top 10" in text
    assert "Nothing was judged" in text
    assert "500 held-out generated queries of SciFact among 5,183 documents" in text
    assert "Least like the teacher" in text
    assert "nDCG@10" not in text
    assert "Keeps" not in text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("recipe.yaml", "The recipe is missing."),
        ("run.json", "The run does not record what it was trained on."),
        ("metrics.jsonl", "No training curves"),
        ("evaluation.json", "Costs were not measured."),
        ("per_query.jsonl", "No per-query results were recorded."),
    ],
)
def test_a_missing_file_is_said_and_the_rest_is_shown(run: Path, name: str, said: str) -> None:
    (run / name).unlink()
    text = Checker(render_report(run)).text
    assert said in text
    assert f"{name} is not in the run folder" in text


def test_a_document_without_a_title_has_no_bold_one(run: Path) -> None:
    edit(run / "documents.json", lambda d: d.update(dict.fromkeys(d, "x" * 160)))
    page = render_report(run)
    assert 'class="doc"' not in page
    assert "x" * 160 + "…" in page


def test_what_was_not_guaranteed_is_not_on_the_page(run: Path) -> None:
    edit(run / "evaluation.json", lambda e: e["guarantee"].update(rest=None, directions=None))
    text = Checker(render_report(run)).text
    assert "What can be guaranteed" in text
    assert "the rest of its top" not in text
    assert "preferred direction" not in text
    edit(run / "evaluation.json", lambda e: e.pop("guarantee"))
    assert "guarantee" not in Checker(render_report(run)).text


def test_a_violated_guarantee_is_said(run: Path) -> None:
    edit(run / "evaluation.json", lambda e: e["guarantee"]["rest"].update(violations=3))
    assert "3 pairs contradict the proof, which cannot be" in Checker(render_report(run)).text


def test_documents_are_optional(run: Path) -> None:
    (run / "documents.json").unlink()
    text = Checker(render_report(run)).text
    assert "documents.json" not in text
    assert "d17" in text


def test_broken_lines_are_counted_and_left_out(run: Path) -> None:
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 2020, "lo')
    assert "metrics.jsonl: 1 line cannot be read and is left out" in Checker(render_report(run)).text


def test_a_resumed_step_counts_once(run: Path) -> None:
    from potstill.report.runfiles import read_run

    before = read_run(run).steps
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": 20, "loss": 7.0}) + "\n")
    after = read_run(run).steps
    assert len(after) == len(before)
    assert after[0]["loss"] == 7.0


def test_what_is_no_run_folder_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run folder"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


JUNK = st.sampled_from([None, "", EVIL, -1, 0, 0.5, 1e12, -1e12, 10**400, True, float("nan"), [], {}, [[]], {"a": {}}])


def places(value, place=()):
    yield place
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*place, key))
    elif isinstance(value, list):
        for n in range(min(2, len(value))):
            yield from places(value[n], (*place, n))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(data=st.data())
def test_no_odd_value_anywhere_stops_page_or_card(run: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["run.json", "evaluation.json", "metrics.jsonl", "per_query.jsonl"]))
    path = run / name
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines() if name.endswith("l") else [text]
    value = [json.loads(line) for line in lines]
    place = data.draw(st.sampled_from([p for p in places(value) if p]))
    target = value
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = data.draw(JUNK)
    try:
        path.write_text("\n".join(json.dumps(row) for row in value), encoding="utf-8")
        assert "script" not in Checker(render_report(run)).tags
        assert model_card(run).startswith("---\n")
    finally:
        path.write_text(text, encoding="utf-8")


def test_no_odd_value_in_a_guarantee_stops_the_page(run: Path) -> None:
    from potstill.report.guaranteed import guaranteed_view

    text = (run / "evaluation.json").read_text(encoding="utf-8")
    for place in places(json.loads(text)["guarantee"], ("guarantee",)):
        for junk in (None, "", -1, 0, 1e300, True, float("nan"), [], {}, [[]], {"a": {}}):
            value = target = json.loads(text)
            for key in place[:-1]:
                target = target[key]
            target[place[-1]] = junk
            view = guaranteed_view(value)
            assert view is None or all(isinstance(line, str) for line in view["said"])


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_have_contrast_in_light_and_dark() -> None:
    import potstill.report

    css = (Path(potstill.report.__file__).parent / "report.css").read_text(encoding="utf-8")
    themes = [
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", css, re.S)
    ]
    assert len(themes) == 3
    for theme in themes[:2]:
        for ground in ("paper", "card"):
            for name in ("ink", "soft", "student", "teacher", "down", "up"):
                light, dark = sorted((luminance(theme[ground]), luminance(theme[name])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (ground, name)
