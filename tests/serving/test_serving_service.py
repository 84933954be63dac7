"""The service as clients see it: right vectors, every limit, bad input, a stop in good order, and no torch."""

from __future__ import annotations

import base64
import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import numpy as np
import pytest
import schemathesis
from service_live import live

import potstill
from potstill.errors import InputError
from potstill.serving.app import create_app
from potstill.serving.models import Towers, open_served
from potstill.serving.settings import ServeSettings

TEXTS = ["copper still", "wind and sail", "", "planet orbit telescope light", "q" * 50]


def cosine(a, b):
    return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.fixture(scope="module")
def static_url(static_folder):
    with live(create_app(open_served(static_folder, "small"))) as url:
        yield url


@pytest.fixture(scope="module")
def transformer_url(transformer_folder):
    with live(create_app(open_served(transformer_folder))) as url:
        yield url


def test_vectors_are_the_students_in_every_shape(static_url, static_folder):
    expected = potstill.load(static_folder).encode_queries(TEXTS)
    plain = httpx.post(f"{static_url}/embed", json={"inputs": TEXTS}).json()
    assert np.allclose(plain, expected, atol=1e-6)
    told = httpx.post(f"{static_url}/v1/embeddings", json={"input": TEXTS, "model": "any"}).json()
    assert [row["index"] for row in told["data"]] == list(range(len(TEXTS)))
    assert np.allclose([row["embedding"] for row in told["data"]], expected, atol=1e-6)
    assert told["model"] == "small"
    packed = httpx.post(f"{static_url}/v1/embeddings", json={"input": TEXTS, "encoding_format": "base64"}).json()
    for row, vector in zip(packed["data"], expected, strict=True):
        assert np.array_equal(np.frombuffer(base64.b64decode(row["embedding"]), "<f4"), vector)


def test_usage_counts_the_tokens(static_url):
    told = httpx.post(f"{static_url}/v1/embeddings", json={"input": ["copper still", "wind"]}).json()
    assert told["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


def test_openais_client_works(static_url, static_folder):
    import openai

    client = openai.OpenAI(base_url=f"{static_url}/v1", api_key="none", max_retries=0)
    found = client.embeddings.create(model="small", input=["copper still", "wind"])  # asks for base64 by itself
    expected = potstill.load(static_folder).encode_queries(["copper still", "wind"])
    assert np.allclose([row.embedding for row in found.data], expected, atol=1e-6)
    assert [model.id for model in client.models.list()] == ["small"]
    with pytest.raises(openai.BadRequestError, match="dimensions: this student gives 8 numbers, not 3"):
        client.embeddings.create(model="small", input="x", dimensions=3)


def test_reranking_is_by_the_students_own_scores(static_url, static_folder):
    texts = ["copper cask", "wind", "copper still"]
    student = potstill.load(static_folder)
    query = student.encode_queries(["copper still"])[0]
    scores = [cosine(query, vector) for vector in student.encode_documents(texts)]
    asked = {"query": "copper still", "texts": texts, "return_text": True}
    rows = httpx.post(f"{static_url}/rerank", json=asked).json()
    assert [row["index"] for row in rows] == np.argsort(scores)[::-1].tolist()
    assert rows[0]["text"] == "copper still"
    assert np.allclose([row["score"] for row in rows], sorted(scores, reverse=True), atol=1e-5)


def test_a_ranker_is_served_and_gives_no_vectors(tmp_path):
    import torch
    from sentence_transformers import CrossEncoder

    import tiny

    folder = tiny.make_tiny_cross_encoder(tmp_path / "ranker")
    (folder / "potstill.json").write_text(json.dumps({"reads": "pairs"}), encoding="utf-8")
    texts = ["copper cask", "wind", "copper still"]
    expected = CrossEncoder(str(folder), device="cpu").predict(
        [["copper", text] for text in texts], activation_fn=torch.nn.Identity()
    )
    with live(create_app(open_served(folder))) as url:
        rows = httpx.post(f"{url}/rerank", json={"query": "copper", "texts": texts, "raw_scores": True}).json()
        assert {row["index"]: row["score"] for row in rows} == pytest.approx(
            dict(enumerate(expected.tolist())), abs=1e-5
        )
        soft = httpx.post(f"{url}/rerank", json={"query": "copper", "texts": texts}).json()
        assert [row["score"] for row in soft] == pytest.approx([1 / (1 + np.exp(-row["score"])) for row in rows])
        refused = httpx.post(f"{url}/v1/embeddings", json={"input": "x"})
        assert refused.status_code == 400
        assert "/rerank" in refused.json()["error"]["message"]


def test_concurrent_requests_get_their_own_vectors(transformer_url, transformer_folder):
    texts = [f"{a} {b}" for a in ("copper", "wind", "planet", "egg", "chord") for b in ("old", "new", "great", "small")]
    expected = potstill.load(transformer_folder).encode_queries(texts)
    with concurrent.futures.ThreadPoolExecutor(20) as pool, httpx.Client(timeout=60) as client:
        asked = [
            pool.submit(client.post, f"{transformer_url}/embed", json={"inputs": texts[n % len(texts)]})
            for n in range(100)
        ]
        for n, one in enumerate(asked):
            assert cosine(one.result().json()[0], expected[n % len(texts)]) > 0.99999
    counts = httpx.get(f"{transformer_url}/metrics").text
    assert 'potstill_requests_total{path="/embed",status="200"} 100' in counts
    assert "potstill_batch_texts_sum 100" in counts


def test_a_cut_text_is_told_or_refused(transformer_url):
    long = "copper " * 40
    told = httpx.post(f"{transformer_url}/embed", json={"inputs": [long, "wind"]})
    assert told.headers["x-potstill-truncated"] == "1"
    refused = httpx.post(f"{transformer_url}/embed", json={"inputs": [long, "wind"], "truncate": False})
    assert refused.status_code == 413
    assert "16 tokens" in refused.json()["error"]
    whole = httpx.post(f"{transformer_url}/embed", json={"inputs": ["wind"], "truncate": False})
    assert whole.status_code == 200
    assert "x-potstill-truncated" not in whole.headers


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/embed", b"{", 422, "Invalid JSON"),
        ("/embed", b"\xff\xfe", 422, "Invalid JSON"),
        ("/embed", b"[]", 422, "object"),
        ("/embed", b'{"inputs": []}', 422, "no text"),
        ("/embed", b'{"inputs": [1]}', 422, "inputs"),
        ("/embed", b"[" * 100_000, 422, "Invalid JSON"),
        ("/v1/embeddings", b'{"input": [[1, 2]]}', 400, "token ids are not read"),
        ("/v1/embeddings", b'{"input": "x", "encoding_format": "hex"}', 400, "encoding_format"),
        ("/v1/embeddings", b'{"input": "\\ud800"}', 400, "Invalid JSON"),
        ("/rerank", b'{"query": "x"}', 422, "texts"),
        ("/nowhere", b"{}", 404, "no such path"),
        ("/metrics", b"{}", 405, "another method"),
    ],
)
def test_bad_requests_are_answered_for_people(static_url, path, body, status, said):
    answer = httpx.post(f"{static_url}{path}", content=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert said in (error["message"] if path.startswith("/v1/") else error)


def test_too_many_texts_and_too_large_bodies(static_folder):
    with live(create_app(open_served(static_folder), ServeSettings(max_body=2000, max_texts=3))) as url:
        assert httpx.post(f"{url}/embed", json={"inputs": ["a"] * 4}).status_code == 413
        assert httpx.post(f"{url}/embed", content=b"x" * 2001).status_code == 413
        pieces = (b"x" * 100 for _ in range(30))  # no Content-Length: counted as it comes
        assert httpx.post(f"{url}/embed", content=pieces).status_code == 413
        assert httpx.post(f"{url}/embed", json={"inputs": ["a"] * 3}).status_code == 200


def test_the_key(static_folder):
    with live(create_app(open_served(static_folder), ServeSettings(api_key="s3cret-ключ"))) as url:
        assert httpx.get(f"{url}/health").status_code == 200
        for headers in ({}, {"Authorization": "Bearer no"}, {"Authorization": "s3cret"}):
            refused = httpx.post(f"{url}/v1/embeddings", json={"input": "x"}, headers=headers)
            assert refused.status_code == 401
            assert "API key" in refused.json()["error"]["message"]
        right = {"Authorization": "Bearer s3cret-ключ".encode()}
        assert httpx.post(f"{url}/embed", json={"inputs": "x"}, headers=right).status_code == 200


class Slow(Towers):
    """A student that takes its time."""

    def instant(self, role):
        return False

    def encode(self, role, texts):
        time.sleep(0.5)
        return super().encode(role, texts)


def test_slow_work_and_too_much_of_it(static_folder):
    slow = Slow(potstill.load(static_folder), "slow")
    with live(create_app(slow, ServeSettings(timeout=0.2, max_concurrency=2))) as url:
        late = httpx.post(f"{url}/embed", json={"inputs": "x"})
        assert late.status_code == 408
        assert "0.2 seconds" in late.json()["error"]
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            asked = [pool.submit(httpx.post, f"{url}/embed", json={"inputs": "x"}) for _ in range(6)]
            answers = [one.result() for one in asked]
        crowded = [answer for answer in answers if answer.status_code == 429]
        assert crowded
        assert all(answer.headers["retry-after"] == "1" for answer in crowded)
        assert httpx.get(f"{url}/health").status_code == 200


def test_a_sender_that_never_ends_is_let_go(static_folder):
    with live(create_app(open_served(static_folder), ServeSettings(timeout=0.3))) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as line:
            line.sendall(b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            assert line.recv(100).startswith(b"HTTP/1.1 408")
        with socket.create_connection((host, int(port)), timeout=10) as line:
            line.sendall(b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")  # and goes away
        assert httpx.post(f"{url}/embed", json={"inputs": "x"}).status_code == 200


def test_a_failing_student_is_a_500_and_the_service_lives(static_folder):
    class Failing(Slow):
        def encode(self, role, texts):
            if "boom" in texts:
                raise ValueError("boom")
            return Towers.encode(self, role, texts)

    with live(create_app(Failing(potstill.load(static_folder), "failing"))) as url:
        failed = httpx.post(f"{url}/embed", json={"inputs": "boom"})
        assert failed.status_code == 500
        assert "failed on this request" in failed.json()["error"]
        assert httpx.post(f"{url}/embed", json={"inputs": "x"}).status_code == 200


def test_documents_of_an_asymmetric_student_are_refused_unless_they_were_opened(static_folder, tmp_path):
    import shutil

    folder = shutil.copytree(static_folder, tmp_path / "student")
    (folder / "potstill.json").write_text(json.dumps({"towers": "asymmetric", "metric": "cosine"}), encoding="utf-8")
    with live(create_app(open_served(folder))) as url:
        refused = httpx.post(f"{url}/rerank", json={"query": "x", "texts": ["y"]})
        assert refused.status_code == 400
        assert "--documents" in refused.json()["error"]
        assert httpx.post(f"{url}/embed", json={"inputs": "x", "prompt_name": "document"}).status_code == 400
    with pytest.raises(InputError, match="names no teacher"):
        open_served(folder, documents=True)


def test_nothing_that_its_description_allows_breaks_it(static_folder):
    app = create_app(open_served(static_folder), ServeSettings(max_body=100_000))
    from hypothesis import HealthCheck, given, settings

    description = schemathesis.openapi.from_asgi("/openapi.json", app)
    checks = [
        schemathesis.checks.not_a_server_error,
        schemathesis.specs.openapi.checks.status_code_conformance,
        schemathesis.specs.openapi.checks.content_type_conformance,
        schemathesis.specs.openapi.checks.response_schema_conformance,
    ]
    tried = 0

    for operation in description.get_all_operations():
        case = operation.ok().as_strategy()

        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=case)
        def one(case):
            nonlocal tried
            tried += 1
            case.call_and_validate(checks=checks)

        one()
    assert tried > 50


SERVE = "import sys; from potstill.cli import main; sys.argv[0] = 'potstill'; main()"


def test_the_command_serves_without_torch_and_stops_in_good_order(static_folder, tmp_path):
    code = SERVE.replace(
        "main()", "import atexit; atexit.register(lambda: print('torch', 'torch' in sys.modules)); main()"
    )
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", code, "serve", str(static_folder), "--port", "0"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    told = ""
    while "serving on" not in told:
        line = running.stdout.readline()
        assert line, told
        told += line
    url = told.split("serving on ")[1].split()[0]
    assert len(httpx.post(f"{url}/embed", json={"inputs": "copper"}).json()[0]) == 8
    running.send_signal(signal.SIGTERM)
    rest, _ = running.communicate(timeout=30)
    assert running.returncode == 0, rest
    assert "stopped" in rest
    assert "torch False" in rest


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["nowhere"], "nowhere: cannot load"), (["{student}", "--api-key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY")],
)
def test_the_command_says_what_is_wrong(static_folder, arguments, said):
    command = [sys.executable, "-c", SERVE, "serve", *(one.format(student=static_folder) for one in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_port_that_is_taken_is_named(static_folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-c", SERVE, "serve", str(static_folder), "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert f"127.0.0.1:{port}" in done.stderr


@pytest.mark.parametrize("text", TEXTS)
def test_counting_tokens_changes_no_vector(static_folder, text):
    encoder = potstill.load(static_folder).queries
    vector, tokens = encoder.encode_counted(text)
    assert np.array_equal(vector, encoder.encode([text]))
    assert tokens == len(encoder.tokenizer.encode(text, add_special_tokens=False).ids)


def test_a_prompt_counts_among_the_tokens(tmp_path):
    import tiny

    folder = tiny.make_tiny_encoder(tmp_path / "student", max_length=16, prompts={"query": "small old new great "})
    with live(create_app(open_served(folder))) as url:
        text = "copper " * 12  # 14 tokens with the special ones; 18 behind the prompt
        refused = httpx.post(f"{url}/embed", json={"inputs": text, "truncate": False})
        assert refused.status_code == 413
        assert httpx.post(f"{url}/embed", json={"inputs": text}).headers["x-potstill-truncated"] == "1"
        used = httpx.post(f"{url}/v1/embeddings", json={"input": "copper"}).json()["usage"]
        assert used["prompt_tokens"] == 7
