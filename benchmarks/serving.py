"""The service against what bounds it: an endpoint that does nothing, and the bare model.

    python benchmarks/serving.py --student RUN [--transformer MODEL] [--seconds 60]

Everything runs on the loopback of one machine, load generator included, so requests a second say little elsewhere; the
ratios, measured in alternation in one run, say what the service adds. `noop` is a FastAPI route that answers as many
numbers without a student, and pays for routing, which the service skips; `plain` is sentence-transformers behind the
same FastAPI shape, one call a request. Capacity is measured in closed loops, then an open
loop sends at 80 % of it whatever the answers do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from fastapi import FastAPI, Request, Response

os.environ.setdefault("HF_HUB_OFFLINE", "1")
RESULTS = Path(__file__).parent / "results" / "serving.json"
QUERIES = [
    "what causes vitamin d deficiency in winter",
    "statins and the risk of breast cancer",
    "aspirin after myocardial infarction",
    "how do vaccines train the immune system",
    "sleep and memory in older adults",
    "microglia in neurodegenerative disease",
]


def main() -> None:
    """Measure and write `results/serving.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", default="all", choices=["all", "serve"])
    parser.add_argument("--kind", default="student")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--student", help="a run or folder of a static student")
    parser.add_argument("--transformer", help="a sentence-transformers model; default: all-MiniLM-L6-v2")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.part == "serve":
        serve(given.kind, given.student, given.port)
        return
    if given.transformer is None:
        from given import teacher

        given.transformer = teacher()
    found: dict[str, Any] = {"static": static(given), "transformer": transformer(given)}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def serve(kind: str, path: str, port: int) -> None:
    """One server, in a process of its own."""
    from potstill.serving.app import create_app
    from potstill.serving.models import open_served
    from potstill.serving.running import run_service

    if kind == "student":
        run_service(create_app(open_served(path)), "127.0.0.1", port, 30)
        return
    app = FastAPI()
    if kind == "noop":
        vector = np.random.default_rng(0).standard_normal(384).astype(np.float32)
        usage = {"prompt_tokens": 8, "total_tokens": 8}

        @app.post("/v1/embeddings")
        async def noop(request: Request) -> Response:
            from potstill.serving.wire import in_base64

            asked = orjson.loads(await request.body())
            shown = in_base64(vector) if asked.get("encoding_format") == "base64" else vector
            data = [{"object": "embedding", "index": 0, "embedding": shown}]
            told = {"object": "list", "data": data, "model": "noop", "usage": usage}
            return Response(orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")

    else:
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(path, device="cpu")

        @app.post("/v1/embeddings")
        def plain(asked: dict[str, Any]) -> Response:
            vectors = model.encode([asked["input"]], show_progress_bar=False)
            data = [{"object": "embedding", "index": 0, "embedding": vectors[0]}]
            told = {"object": "list", "data": data, "model": "plain", "usage": {}}
            return Response(orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")

    run_service(app, "127.0.0.1", port, 30)


class Server:
    """A server in a process of its own, there once it answers."""

    def __init__(self, kind: str, path: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        command = [sys.executable, __file__, "serve", "--kind", kind, "--student", path, "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.1)
        sys.exit(f"{kind} does not start")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(60)


def payload(text: str, form: str) -> bytes:
    body = json.dumps({"input": text, "model": "x", "encoding_format": form}).encode()
    head = (
        f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    )
    return head.encode() + b"\r\n" + body


class Line:
    """One connection that is kept: a request, and whether it was answered with 200."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def open(self) -> Line:
        """Connect."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        return self

    async def ask(self, request: bytes) -> bool:
        """Send one request and read its answer."""
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await self.reader.readexactly(length)
        return b" 200 " in head[:20]


async def closed(port: int, requests: Sequence[bytes], lines: int, seconds: float) -> float:
    """Requests a second that `lines` connections get answered, each asking again at once."""
    opened = [await Line(port).open() for _ in range(lines)]
    count, until = 0, time.perf_counter() + seconds

    async def loop(line: Line) -> None:
        nonlocal count
        number = 0
        while time.perf_counter() < until:
            if not await line.ask(requests[number % len(requests)]):
                sys.exit("a request failed")
            number += 1
            count += 1

    began = time.perf_counter()
    await asyncio.gather(*map(loop, opened))
    rate = count / (time.perf_counter() - began)
    for line in opened:
        line.writer.close()
    return rate


async def opened(port: int, requests: Sequence[bytes], rate: float, seconds: float) -> dict[str, float]:
    """Send at `rate` whatever the answers do; times count from when a request was due."""
    chance = random.Random(0)
    idle: list[Line] = []
    times: list[float] = []
    failed = 0

    async def one(due: float) -> None:
        nonlocal failed
        request = requests[len(times) % len(requests)]
        good = False
        while not good:
            kept = bool(idle)
            try:
                line = idle.pop() if kept else await Line(port).open()
                good = await line.ask(request)
                idle.append(line)
                break
            except (OSError, asyncio.IncompleteReadError):
                if not kept:  # a kept line may have been closed by the server meanwhile: every client asks again then
                    break
        failed += not good
        times.append(time.perf_counter() - due)

    began = due = time.perf_counter()
    tasks = set()
    while due < began + seconds:
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        due += chance.expovariate(rate)
    await asyncio.gather(*tasks)
    p50, p99 = np.percentile(times, [50, 99])
    return {"requests": len(times), "failed": failed, "rate": rate, "p50_ms": p50 * 1e3, "p99_ms": p99 * 1e3}


def static(given: argparse.Namespace) -> dict[str, Any]:
    """The static student against an endpoint that answers the same bytes without one."""
    found: dict[str, Any] = {}
    with Server("student", given.student) as ours, Server("noop", given.student) as noop:
        for form in ("float", "base64"):
            requests = [payload(text, form) for text in QUERIES]
            rates: dict[str, list[float]] = {"student": [], "noop": []}
            for _ in range(given.rounds):
                for name, server in (("student", ours), ("noop", noop)):
                    rates[name].append(asyncio.run(closed(server.port, requests, 8, 3)))
            ratios = [a / b for a, b in zip(rates["student"], rates["noop"], strict=True)]
            found[form] = {
                "requests_per_s": float(np.median(rates["student"])),
                "share_of_noop": float(np.median(ratios)),
                "shares": ratios,
            }
        rate = 0.8 * found["float"]["requests_per_s"]
        requests = [payload(text, "float") for text in QUERIES]
        found["open loop"] = asyncio.run(opened(ours.port, requests, rate, given.seconds))
    return found


def transformer(given: argparse.Namespace) -> dict[str, Any]:
    """A transformer behind the service, behind plain FastAPI, and on its own at the batches the service forms."""
    import torch
    from sentence_transformers import SentenceTransformer

    requests = [payload(text, "float") for text in QUERIES]
    rates: dict[str, list[float]] = {"service": [], "plain": [], "bare": []}
    model = SentenceTransformer(given.transformer, device="cpu")
    lines = 64
    with Server("student", given.transformer) as ours:
        asyncio.run(closed(ours.port, requests, lines, 3))
        size = batch_size(ours.port)
        with Server("plain", given.transformer) as plain:
            for _ in range(given.rounds):
                rates["service"].append(asyncio.run(closed(ours.port, requests, lines, 4)))
                rates["plain"].append(asyncio.run(closed(plain.port, requests, lines, 4)))
                texts = [QUERIES[n % len(QUERIES)] for n in range(size)]
                began, count = time.perf_counter(), 0
                with torch.inference_mode():
                    while time.perf_counter() - began < 4:
                        model.encode(texts, batch_size=size, show_progress_bar=False)
                        count += size
                rates["bare"].append(count / (time.perf_counter() - began))
        ratios = [a / b for a, b in zip(rates["service"], rates["bare"], strict=True)]
        found: dict[str, Any] = {
            "batch": size,
            "requests_per_s": {name: float(np.median(values)) for name, values in rates.items()},
            "share_of_bare": float(np.median(ratios)),
            "shares": ratios,
            "times_plain": float(np.median([a / b for a, b in zip(rates["service"], rates["plain"], strict=True)])),
        }
        rate = 0.8 * found["requests_per_s"]["service"]
        found["open loop"] = asyncio.run(opened(ours.port, requests, rate, given.seconds))
    return found


def batch_size(port: int) -> int:
    """The mean size of the batches that the service formed, from its own metrics."""
    import httpx

    lines = dict(line.rsplit(" ", 1) for line in httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines())
    return round(float(lines["potstill_batch_texts_sum"]) / float(lines["potstill_batch_texts_count"]))


if __name__ == "__main__":
    main()
