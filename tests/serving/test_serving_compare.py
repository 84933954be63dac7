"""The page that compares, in a browser: on a real run, and on made-up sides where the text is hostile."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from service_live import live

from potstill.errors import InputError
from potstill.pipeline.side_by_side import open_sides
from potstill.serving.app import create_app
from potstill.serving.compare import router
from potstill.serving.models import open_served
from potstill.serving.sides import Point, Sides, StudentSide, TeacherSide

sys.path.append(str(Path(__file__).parent.parent / "pipeline"))

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


def made_up(teacher=None):
    """Twelve documents; the first student ranks as the teacher does, the second the other way round."""
    vectors = np.stack([np.array([1.0, number / 10]) for number in range(12)]).astype(np.float32)
    up, down = np.array([[0.0, 1.0]], np.float32), np.array([[0.0, -1.0]], np.float32)
    students = [
        StudentSide(
            "same",
            "static",
            lambda texts: up,
            vectors,
            Point(0.6, 0.5, 0.7, 0.05, 100.0),
            wins=[{"id": "q1", "text": "a query that was judged", "teacher": 0.2, "student": 0.9}],
        ),
        StudentSide("turned", "tiny", lambda texts: down, vectors, Point(0.4, 0.3, 0.5, 1.5, 200.0)),
    ]
    return Sides(
        collection="made up",
        measure="nDCG@10",
        metric="dot",
        ids=[f"d{number}" for number in range(12)],
        titles=[HOSTILE if number == 11 else f"title {number}" for number in range(12)],
        snippets=[HOSTILE] * 12,
        teacher=TeacherSide("teacher", teacher or (lambda: lambda texts: up), vectors, Point(0.65, 0.6, 0.7, 9.0, 1e6)),
        students=students,
        judged={"a query that was judged": {"d11": 2, "d10": 0}},
    )


@pytest.fixture(scope="module")
def page_url(static_folder):
    with live(create_app(open_served(static_folder), routers=[router(made_up())])) as url:
        yield url


@pytest.fixture
def page(browser, page_url):
    """A page whose console and requests are watched."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    found = context.new_page()
    complaints, elsewhere = [], []
    found.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    found.on("pageerror", lambda error: complaints.append(str(error)))
    found.on(
        "request",
        lambda request: None if request.url.startswith((page_url, "data:")) else elsewhere.append(request.url),
    )
    found.goto(page_url)
    found.wait_for_selector("#wins button")
    yield found
    assert complaints == []
    assert elsewhere == []
    context.close()


def says(page, place, text):
    """Wait for a text; not by a script in the page, which its policy forbids."""
    page.locator(place, has_text=text).wait_for(timeout=10_000)


def ask(page, query):
    page.fill("#query", query)
    page.press("#query", "Enter")
    page.wait_for_selector("#student li")
    says(page, "#status", ".")


def test_a_query_is_answered_on_both_sides(page):
    ask(page, "a query that was judged")
    assert page.locator("#teacher li").count() == 10
    assert page.locator("#student li").count() == 10
    assert page.locator("#student .marks", has_text="same place").count() == 10
    assert page.locator("#student li.relevant").count() == 1
    assert "judged not relevant" in page.inner_text("#student li:nth-child(2)")
    status = page.inner_text("#status")
    assert "10 of 10 documents in both lists" in status
    assert "judged query, 1 relevant" in status


def test_hostile_texts_stay_texts(page):
    ask(page, "anything")
    assert page.inner_text("#student li:first-child .title") == HOSTILE
    assert page.locator("li img, li script").count() == 0
    assert page.title() == "Potstill: side by side"


def test_another_student_is_one_click_or_key_away_and_moves_are_marked(page, page_url):
    ask(page, "anything")
    assert "no judgments" in page.inner_text("#status")
    page.locator("#plot g.point").nth(1).focus()
    page.keyboard.press("Enter")
    says(page, "#student-name", "Student: turned")
    says(page, "#status", "8 of 10")
    assert page.locator("#student .marks", has_text="new: not in the teacher").count() == 2
    assert page.locator("#teacher .marks", has_text="missing from the student").count() == 2
    assert page.locator("#student .marks .up", has_text="↑").count() > 0
    assert page.url == f"{page_url}/?q=anything&s=1"
    page.reload()  # the address holds it all
    page.wait_for_selector("#student li")
    assert page.inner_text("#student-name") == "Student: turned"
    page.locator("#switch button").first.click()
    says(page, "#student-name", "Student: same")


def test_the_keyboard_alone_will_do(page):
    page.keyboard.press("/")
    page.keyboard.type("by hand")
    page.keyboard.press("Enter")
    page.wait_for_selector("#student li")
    assert page.input_value("#query") == "by hand"
    page.locator("#wins button").first.focus()
    page.keyboard.press("Enter")
    says(page, "#status", "judged query")


@pytest.mark.parametrize("width", [320, 360, 768])
def test_small_screens_need_no_sideways_scroll(page, width):
    page.set_viewport_size({"width": width, "height": 700})
    ask(page, "anything")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_everything_that_is_asked_of_has_a_name(page):
    ask(page, "anything")
    nameless = page.evaluate(
        """[...document.querySelectorAll('button, input, [role=button], section')].filter((one) =>
        !(one.textContent.trim() || one.getAttribute('aria-label') || one.labels?.length)).map((e) => e.outerHTML)"""
    )
    assert nameless == []


def test_a_teacher_that_cannot_be_opened_leaves_the_student(static_folder):
    def fails():
        raise InputError("torch is not installed")

    with live(create_app(open_served(static_folder), routers=[router(made_up(fails))])) as url:
        for _ in range(100):
            about = httpx.get(f"{url}/compare/about").json()
            if about["teacher"]["state"] != "loading":
                break
        assert about["teacher"]["problem"] == "torch is not installed"
        found = httpx.get(f"{url}/compare/search", params={"q": "x"}).json()
        assert found["teacher"] is None
        assert len(found["student"]["results"]) == 10


@pytest.mark.parametrize("asked", [{}, {"q": " "}, {"q": "x" * 2001}, {"q": "x", "s": 2}, {"q": "x", "s": -1}])
def test_odd_searches_are_refused(page_url, asked):
    assert httpx.get(f"{page_url}/compare/search", params=asked).status_code == 422


def test_the_page_allows_nothing_from_elsewhere(page_url):
    answer = httpx.get(page_url)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "http" not in answer.text.replace("http-equiv", "")


def test_a_real_run_side_by_side(tmp_path, tiny_collection, tiny_encoder):
    from pipeline_runs import quick_run

    run, signals = tmp_path / "static", tmp_path / "store"
    evaluation = quick_run(
        run, collection=tiny_collection, teacher=tiny_encoder, signals=signals, settings=["evaluate.cost=true"]
    )
    sides = open_sides([run], signals=signals)
    sides.teacher.encode = sides.teacher.open()
    sides.teacher.state = "ready"
    about = sides.about()
    assert about["students"][0]["value"] == evaluation["systems"]["student"]["nDCG@10"]
    assert about["teacher"]["ms"] == evaluation["cost"]["teacher"]["query_ms_p50"]
    rows = [json.loads(line) for line in (run / "per_query.jsonl").read_text(encoding="utf-8").splitlines()]
    for row in rows:  # what the page finds is what was evaluated
        found = sides.search(row["text"], 0)
        assert found["judged"]
        for side in ("teacher", "student"):
            assert [one["id"] for one in found[side]["results"]] == [top[0] for top in row[f"{side}_top"]]
    assert sides.collection == tiny_collection.name
    with pytest.raises(InputError, match="no finished run"):
        open_sides([tmp_path], signals=signals)


def test_a_student_of_a_smaller_index_searches_through_its_head(tmp_path, tiny_collection, tiny_encoder):
    from pipeline_runs import quick_run

    run, signals = tmp_path / "small", tmp_path / "store"
    settings = ["index.width=6", "index.updates=20", "index.batch=16"]
    quick_run(run, collection=tiny_collection, teacher=tiny_encoder, signals=signals, settings=settings)
    sides = open_sides([run], signals=signals)
    assert sides.students[0].documents.shape[1] == 6
    for line in (run / "per_query.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found = sides.search(row["text"], 0)["student"]["results"]
        assert [one["id"] for one in found] == [top[0] for top in row["student_top"]]
