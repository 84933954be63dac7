"""How long it takes to read 256 random vectors of a signal store, by row number.

Compared with what nobody can avoid: gathering the same rows from one bare NumPy memory map, float16 to float32 on
both sides, warm, in turn within one run. Also: the store's size, the time to check it, and the time to find 256 texts.

    python benchmarks/store_read.py [--rows 100000] [--dimensions 768] [--batch 256] [--rounds 600]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cells import Cells, cell
from potstill.signals import Fingerprint, SignalStore, import_vectors, verify

RESULTS = Path(__file__).parent / "results" / "store_read.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=768)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()

    rng = np.random.default_rng(args.seed)
    vectors = rng.standard_normal((args.rows, args.dimensions), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    texts = [f"text number {i}" for i in range(args.rows)]
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), texts, vectors, args.batch, args.rounds, rng)
    collection = f"random {args.rows}x{args.dimensions}"
    Cells(args.out).add(cell(collection, arm, args.seed, *rest[:2], **rest[2]) for arm, *rest in rows)
    for arm, name, value, bounds in rows:
        between = f"  [{bounds['low']:.3f}, {bounds['high']:.3f}]" if bounds else ""
        print(f"{arm:<12} {name:<28} {value:10.3f}{between}")


def measure(
    folder: Path, texts: list[str], vectors: np.ndarray, batch: int, rounds: int, rng: np.random.Generator
) -> list[tuple[str, str, float, dict[str, float]]]:
    """Rows (arm, measure, value, bounds)."""
    bare_path = folder / "bare.npy"
    np.save(bare_path, vectors.astype(np.float16))
    bare = np.load(bare_path, mmap_mode="r")

    n, d = vectors.shape
    mark = Fingerprint("imported", "random", None, "any", "", None, None, True, "float32", d)
    store = SignalStore(folder / "signals")
    began = time.perf_counter()
    import_vectors(store.vectors(mark), texts, vectors)
    build_s = time.perf_counter() - began
    began = time.perf_counter()
    assert verify(store.root) == []
    verify_s = time.perf_counter() - began
    table = store.vectors(mark)
    place = table.rows(texts)  # row number in the store of each text
    size = sum(path.stat().st_size for path in store.root.rglob("*") if path.is_file())

    picks = [rng.integers(0, n, batch) for _ in range(rounds)]
    asked = [place[pick] for pick in picks]
    wanted = [[texts[i] for i in pick] for pick in picks]
    assert np.array_equal(table.gather(asked[0]), bare[picks[0]].astype(np.float32))
    table.gather(place), bare[:].sum()  # warm: every page of both was read once

    # In turn, so that whatever else the machine does falls on all of them alike.
    spent: dict[str, list[float]] = {"bare": [], "store": [], "rows": []}
    for pick, rows, some in zip(picks, asked, wanted, strict=True):
        spent["bare"].append(timed(lambda pick=pick: bare[pick].astype(np.float32)))
        spent["store"].append(timed(lambda rows=rows: table.gather(rows)))
        spent["rows"].append(timed(lambda some=some: table.rows(some)))
    bare_ms, store_ms, rows_ms = (np.array(spent[arm]) * 1000 for arm in ("bare", "store", "rows"))
    ratios = [
        float(np.median(store_ms[some]) / np.median(bare_ms[some])) for some in rng.integers(0, rounds, (2000, rounds))
    ]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return [
        ("bare", f"gather {batch} ms", float(np.median(bare_ms)), quartiles(bare_ms)),
        ("store", f"gather {batch} ms", float(np.median(store_ms)), quartiles(store_ms)),
        (
            "store",
            "gather / bare",
            float(np.median(store_ms) / np.median(bare_ms)),
            {"low": float(low), "high": float(high)},
        ),
        ("store", f"find {batch} texts ms", float(np.median(rows_ms)), quartiles(rows_ms)),
        ("store", "shards", float(table.shard_count), {}),
        ("store", "bytes per row", size / n, {}),
        ("bare", "bytes per row", bare_path.stat().st_size / n, {}),
        ("store", "import s", build_s, {}),
        ("store", "verify GB/s", size / 1e9 / verify_s, {}),
    ]


def quartiles(values: np.ndarray) -> dict[str, float]:
    low, high = np.quantile(values, [0.25, 0.75])
    return {"low": float(low), "high": float(high)}


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
