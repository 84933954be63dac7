"""What a service counts, in the text format that Prometheus reads."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Histogram:
    """Values counted in buckets that are fixed beforehand."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds, self.counts, self.sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str, labels: str) -> list[str]:
        """The series of the text format; `labels` ends in a comma unless it is empty."""
        out, below = [], 0
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self.counts, strict=True):
            below += count
            out.append(f'{name}_bucket{{{labels}le="{bound}"}} {below}')
        plain = f"{{{labels[:-1]}}}" if labels else ""
        return [*out, f"{name}_sum{plain} {self.sum:.6f}", f"{name}_count{plain} {below}"]


class Metrics:
    """Requests by path and status, their time, texts and tokens encoded, sizes of batches, requests in work."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.seconds: dict[str, Histogram] = {}
        self.encoded: Counter[str] = Counter()
        self.tokens = 0
        self.batches = Histogram(_TEXTS)
        self.in_work = 0

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.requests[path, status] += 1
        if path not in self.seconds:
            self.seconds[path] = Histogram(_SECONDS)
        self.seconds[path].add(seconds)

    def texts(self, role: str, count: int, tokens: int) -> None:
        """Count texts that were encoded, and their tokens."""
        self.encoded[role] += count
        self.tokens += tokens

    def text(self) -> str:
        """All of it."""
        lines = ["# HELP potstill_requests_total Requests answered.", "# TYPE potstill_requests_total counter"]
        for (path, status), count in sorted(self.requests.items()):
            lines.append(f'potstill_requests_total{{path="{path}",status="{status}"}} {count}')
        lines += ["# HELP potstill_request_seconds Time of a request.", "# TYPE potstill_request_seconds histogram"]
        for path, seconds in sorted(self.seconds.items()):
            lines += seconds.lines("potstill_request_seconds", f'path="{path}",')
        lines += ["# HELP potstill_texts_total Texts encoded or ranked.", "# TYPE potstill_texts_total counter"]
        lines += [f'potstill_texts_total{{role="{role}"}} {count}' for role, count in sorted(self.encoded.items())]
        lines += ["# HELP potstill_tokens_total Tokens of those texts.", "# TYPE potstill_tokens_total counter"]
        lines.append(f"potstill_tokens_total {self.tokens}")
        lines += ["# HELP potstill_batch_texts Texts encoded together.", "# TYPE potstill_batch_texts histogram"]
        lines += self.batches.lines("potstill_batch_texts", "")
        lines += ["# HELP potstill_in_work Requests in work.", "# TYPE potstill_in_work gauge"]
        return "\n".join([*lines, f"potstill_in_work {self.in_work}", ""])
