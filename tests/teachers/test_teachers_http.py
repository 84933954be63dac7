"""The HTTP teacher against a loopback service, faults included."""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback_service import Reply, Service, vector_of

from potstill.errors import InputError, PotstillError
from potstill.recipe import TeacherSpec
from potstill.teachers import open_teacher
from potstill.teachers.http_service import HttpTeacher, _pause
from potstill.teachers.http_wire import BadAnswer, endpoint, read_answer, without_secrets

TEXTS = [f"text number {i}" for i in range(7)]


def opened(service: Service, **more: Any) -> tuple[HttpTeacher, list[float]]:
    waits: list[float] = []
    spec = TeacherSpec(url=service.url, **{"model": "m", "batch_size": 3, "timeout": 2, **more})
    return HttpTeacher(spec, sleep=waits.append), waits


@pytest.mark.parametrize("api", ["openai", "tei"])
def test_vectors_come_back_in_order_and_in_batches(service: Service, api: str) -> None:
    teacher = open_teacher(TeacherSpec(url=service.url, model="m", api=api, batch_size=3))
    vectors = teacher.encode(TEXTS, "document")
    np.testing.assert_allclose(vectors, np.stack([vector_of(t) for t in TEXTS]), atol=1e-7)
    assert vectors.dtype == np.float32
    assert teacher.dimensions == 8
    sent = [one["json"]["input" if api == "openai" else "inputs"] for one in service.requests[1:]]
    assert sent == [TEXTS[:3], TEXTS[3:6], TEXTS[6:]]
    assert {one["path"] for one in service.requests} == {"/v1/embeddings" if api == "openai" else "/embed"}
    assert teacher.encode([], "query").shape == (0, 8)


def test_answers_out_of_order_and_in_base64_are_read(service: Service) -> None:
    def shuffled(answer: dict[str, Any]) -> dict[str, Any]:
        for row in answer["data"]:
            row["embedding"] = base64.b64encode(np.array(row["embedding"], dtype="<f4").tobytes()).decode()
        return {"data": answer["data"][::-1]}

    teacher, _ = opened(service)
    service.script = [Reply(body=shuffled)]
    np.testing.assert_allclose(teacher.encode(TEXTS[:3], "query"), np.stack([vector_of(t) for t in TEXTS[:3]]))


def test_prompts_are_put_first_and_part_of_the_identity(service: Service) -> None:
    teacher, _ = opened(service, prompts={"query": "query: "})
    assert np.allclose(teacher.encode(["a"], "query")[0], vector_of("query: a"))
    assert np.allclose(teacher.encode(["a"], "document")[0], vector_of("a"))
    assert (teacher.fingerprint("query").role, teacher.fingerprint("document").role) == ("query", "document")
    plain, _ = opened(service)
    assert plain.fingerprint("query") == plain.fingerprint("document")
    assert plain.fingerprint("query").role == "any"
    other, _ = opened(service, model="n")
    newer, _ = opened(service, revision="2")
    assert len({t.fingerprint("query").digest() for t in (teacher, plain, other, newer)}) == 4


def test_an_empty_text_is_sent_as_a_space(service: Service) -> None:
    teacher, _ = opened(service)
    teacher.encode(["", "b"], "document")
    assert service.requests[-1]["json"]["input"] == [" ", "b"]


def test_lengths_are_estimates_and_nothing_is_said_to_be_cut(service: Service) -> None:
    teacher, _ = opened(service)
    assert teacher.lengths(["", "abcd" * 10], "query").tolist() == [1, 11]
    assert teacher.truncated(["abcd" * 10_000], "query") == 0
    assert teacher.max_length("query") is None


def test_tei_is_asked_to_cut_long_texts_and_for_the_normalisation_that_was_set(service: Service) -> None:
    opened(service, api="tei")
    assert service.requests[-1]["json"]["truncate"] is True
    assert "normalize" not in service.requests[-1]["json"]
    opened(service, api="tei", normalize=False)
    assert service.requests[-1]["json"]["normalize"] is False


def test_vectors_are_normalised_when_asked(service: Service) -> None:
    def longer(answer: dict[str, Any]) -> dict[str, Any]:
        for row in answer["data"]:
            row["embedding"] = [3 * value for value in row["embedding"]]
        return answer

    service.script = [Reply(body=longer), Reply(body=longer)]
    teacher, _ = opened(service, normalize=True)
    np.testing.assert_allclose(teacher.encode(["a"], "query")[0], vector_of("a"), atol=1e-6)
    service.script = [Reply(body=longer)]
    with pytest.raises(InputError, match=r"set teacher\.metric"):
        opened(service)
    service.script = [Reply(body=longer)]
    assert opened(service, metric="dot")[0].metric == "dot"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_service_is_asked_again_after_ever_longer_waits(service: Service, status: int) -> None:
    teacher, waits = opened(service)
    service.script = [Reply(status, b"busy")] * 3
    assert np.allclose(teacher.encode(["a"], "query")[0], vector_of("a"))
    assert len(waits) == 3
    for attempt, wait in enumerate(waits):
        assert 0.5 * 2**attempt <= wait <= 0.5 * 2**attempt * 1.25


def test_an_error_page_for_browsers_is_not_shown(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    teacher, _ = opened(service)
    service.script = [Reply(503, b"<!DOCTYPE HTML><html><body>Long story</body></html>")]
    teacher.encode(["a"], "query")
    said = capsys.readouterr().err
    assert "status 503 (Service Unavailable); next attempt" in said
    assert "Long story" not in said


def test_retry_after_is_honoured(service: Service) -> None:
    teacher, waits = opened(service)
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    service.script = [Reply(429, b"", {"retry-after": "7"}), Reply(503, b"", {"retry-after": date})]
    teacher.encode(["a"], "query")
    assert 7 <= waits[0] <= 7.25
    assert 17 <= waits[1] <= 20.25


def test_waits_are_bounded() -> None:
    assert all(_pause(attempt, None) <= 30 * 1.25 for attempt in range(60))
    assert _pause(0, 1e9) <= 300.25


def test_a_late_answer_is_asked_for_again(service: Service) -> None:
    teacher, waits = opened(service, timeout=0.25)
    service.script = [Reply(delay=0.6)]
    assert np.allclose(teacher.encode(["a"], "query")[0], vector_of("a"))
    assert len(waits) == 1


def test_a_dropped_connection_is_asked_for_again(service: Service) -> None:
    teacher, waits = opened(service)
    service.script = [Reply(body=b"{", headers={"content-length": "1000", "connection": "close"})]
    assert np.allclose(teacher.encode(["a"], "query")[0], vector_of("a"))
    assert len(waits) == 1


def test_retries_end(service: Service) -> None:
    teacher, waits = opened(service, retries=2)
    service.script = [Reply(500, b"out of memory")] * 3
    with pytest.raises(PotstillError, match=r"no answer after 3 attempts: status 500 \(out of memory\)") as caught:
        teacher.encode(["a"], "query")
    assert caught.value.exit_code == 1
    assert len(waits) == 2


def test_a_refused_connection_is_an_input_error() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        waits: list[float] = []
        with pytest.raises(InputError, match="no answer after 3 attempts"):
            HttpTeacher(TeacherSpec(url=url), sleep=waits.append)
        assert len(waits) == 2


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (400, "lengths of the texts"),
        (401, "api_key_env"),
        (403, "api_key_env"),
        (404, "teacher.api"),
        (413, "batch_size"),
        (301, "moved"),
    ],
)
def test_a_refusal_is_told_at_once_with_its_remedy(service: Service, status: int, remedy: str) -> None:
    service.script = [Reply(status, b"no such model", {"location": "http://u:secret@elsewhere/x?token=1"})]
    with pytest.raises(InputError, match=str(status)) as caught:
        opened(service)
    assert remedy in str(caught.value)
    assert "no such model" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert len(service.requests) == 1


def drop_one(answer: dict[str, Any]) -> dict[str, Any]:
    return {"data": answer["data"][:-1]}


def one_index_twice(answer: dict[str, Any]) -> dict[str, Any]:
    answer["data"][0]["index"] = 1
    return answer


def narrower(answer: dict[str, Any]) -> dict[str, Any]:
    for row in answer["data"]:
        row["embedding"] = row["embedding"][:5]
    return answer


def ragged(answer: dict[str, Any]) -> dict[str, Any]:
    answer["data"][1]["embedding"] = [1.0]
    return answer


def nan(answer: dict[str, Any]) -> dict[str, Any]:
    answer["data"][0]["embedding"][0] = float("nan")
    return answer


def words(answer: dict[str, Any]) -> dict[str, Any]:
    answer["data"][0]["embedding"] = ["a"]
    return answer


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>", "not JSON"),
        (b"[]", "no `data` list"),
        (b'{"data": [{"vector": [1]}]}', "no `data` list"),
        (drop_one, "1 vectors came back for 2 texts"),
        (one_index_twice, "`index`"),
        (narrower, "vectors of 5 dimensions came back after vectors of 8"),
        (ragged, "different widths"),
        (nan, "not finite"),
        (words, "neither a list of numbers"),
    ],
)
def test_a_wrong_answer_is_never_taken(service: Service, body: bytes | Callable[[Any], Any], said: str) -> None:
    teacher, _ = opened(service)
    service.script = [Reply(body=body)]
    with pytest.raises(PotstillError, match=said) as caught:
        teacher.encode(["a", "b"], "query")
    assert service.url in str(caught.value)


def test_a_wrong_answer_to_the_first_request_is_an_input_error(service: Service) -> None:
    service.script = [Reply(body=b"welcome")]
    with pytest.raises(InputError, match="not JSON") as caught:
        opened(service)
    assert caught.value.exit_code == 2


def test_the_key_is_sent_and_never_shown(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOME_KEY", "very-secret")
    teacher, _ = opened(service, api_key_env="SOME_KEY", retries=1)
    assert service.requests[0]["headers"]["authorization"] == "Bearer very-secret"
    service.script = [Reply(500, b"your key very-secret is odd"), Reply(401, b"your key very-secret is wrong")]
    with pytest.raises(InputError, match=r"\*\*\*") as caught:
        teacher.encode(["a"], "query")
    shown = str(caught.value) + capsys.readouterr().err + repr(teacher) + repr(teacher.fingerprint("query"))
    assert "very-secret" not in shown


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"api_key_env": "POTSTILL_NO_SUCH_KEY"}, "POTSTILL_NO_SUCH_KEY is not set"),
        ({"url": "ftp://host"}, "not an http"),
        ({"url": "http://host:99999999"}, "not an http"),
        ({"url": "localhost:8080"}, "not an http"),
        ({"max_length": {"query": 32}}, "max_length cannot be set from here"),
        ({"pooling": "cls"}, "pooling cannot be set from here"),
        ({"normalize": False}, "normalize: false cannot be set from here"),
    ],
)
def test_options_that_cannot_work_are_refused_before_any_request(
    service: Service, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        open_teacher(TeacherSpec(**{"url": service.url, **more}))
    assert not service.requests


@pytest.mark.parametrize(
    ("url", "api", "expected"),
    [
        ("http://h:1", "openai", "http://h:1/v1/embeddings"),
        ("http://h:1/", "openai", "http://h:1/v1/embeddings"),
        ("https://h/v1", "openai", "https://h/v1/embeddings"),
        ("https://h/v1/embeddings", "openai", "https://h/v1/embeddings"),
        ("https://h/proxy/v1/", "openai", "https://h/proxy/v1/embeddings"),
        ("https://h/x?api-version=3", "openai", "https://h/x/v1/embeddings?api-version=3"),
        ("http://h:1", "tei", "http://h:1/embed"),
        ("http://h:1/embed", "tei", "http://h:1/embed"),
    ],
)
def test_addresses(url: str, api: Any, expected: str) -> None:
    assert endpoint(url, api) == expected


def test_addresses_lose_their_secrets() -> None:
    assert without_secrets("https://u:p@h:8/v1?key=1#f") == "https://h:8/v1"
    assert without_secrets("http://[::1]:8/v1") == "http://[::1]:8/v1"


@given(st.binary(max_size=60), st.sampled_from(["openai", "tei"]))
def test_no_answer_at_all_can_break_the_reader(body: bytes, api: Any) -> None:
    with pytest.raises(BadAnswer):
        read_answer(api, body, 2)
