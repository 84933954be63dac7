"""Write docs/benchmarks.md from benchmarks/results/*.json: `python docs/make_benchmarks.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE.parent / "benchmarks" / "results"
MACHINE = (
    "2 cores of an Intel Xeon (AVX-512, AMX), 24 GiB, no GPU; torch 2.13.0, sentence-transformers 6.2, Python 3.11"
)

Row = dict[str, Any]


def rows(name: str) -> list[Row]:
    """The cells of one results file; none where there is none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def with_interval(row: Row, digits: int = 3) -> str:
    """A value and its interval."""
    if row["low"] is None or row["low"] == row["high"] == row["value"]:
        return f"{row['value']:,.{digits}f}"
    return f"{row['value']:,.{digits}f} ({row['low']:,.{digits}f} to {row['high']:,.{digits}f})"


def quality() -> list[str]:
    """Retention per collection, student and seed."""
    found = rows("quality")
    lines = [
        "| collection | student | stored numbers | seed | teacher | student | retention of nDCG@10 | p | R@100 kept |"
        " overlap@10 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    cells = {(r["collection"], r["arm"], r["seed"], r["measure"]): r for r in found}
    keys = dict.fromkeys((r["collection"], r["arm"], r["seed"]) for r in found)
    order = {name: place for place, name in enumerate(dict.fromkeys(r["arm"] for r in found))}
    for collection, arm, seed in sorted(keys, key=lambda k: (k[0], order[k[1]], k[2])):

        def cell(measure: str, key: tuple[str, str, int] = (collection, arm, seed)) -> Row:
            return cells[(*key, measure)]

        kept = cell("retention nDCG@10")
        lines.append(
            f"| {collection} | {arm} | {cell('parameters')['value']:,} | {seed}"
            f" | {cell('teacher nDCG@10')['value']:.4f}"
            f" | {cell('student nDCG@10')['value']:.4f} | {with_interval(kept)} | {kept['p']:.3f}"
            f" | {cell('retention R@100')['value']:.3f} | {cell('overlap@10')['value']:.3f} |"
        )
    return lines


def plain(name: str, only: tuple[str, ...] = ()) -> list[str]:
    """Any other results file as it is."""
    lines = ["| collection | arm | measure | value (interval) |", "|---|---|---|---|"]
    for row in rows(name):
        if not only or any(part in row["measure"] for part in only):
            lines.append(f"| {row['collection']} | {row['arm']} | {row['measure']} | {with_interval(row, 2)} |")
    return lines


def paired_tests(found: list[Row], measure: str = "nDCG@10") -> list[str]:
    """Arms against arms."""
    lines = [f"| collection | pair | difference of {measure} | p | seeds |", "|---|---|---|---|---|"]
    seeds = {(r["collection"], r["arm"]): int(r["value"]) for r in found if r["measure"] == "seeds"}
    return lines + [
        f"| {r['collection']} | {r['arm']} | {signed(r)} | {r['p']:.4f} | {seeds[r['collection'], r['arm']]} |"
        for r in found
        if r["measure"] == f"difference {measure}"
    ]


def embeddistill(part: str) -> list[str]:
    """One part of the EmbedDistill benchmark: `table`, `symmetric`, `students`, `reranking` or `tests`."""
    found = rows("embeddistill")
    if part == "tests":
        return paired_tests(found)
    if part == "reranking":
        lines = ["| system | seed | nDCG@10 | of MiniLM's own order | of cls | of dual |", "|---|---|---|---|---|---|"]
        cells = {(r["arm"], r["seed"], r["measure"]): r for r in found if r["arm"].startswith("re-ranking: ")}
        for arm, seed, measure in cells:
            if measure == "nDCG@10":
                kept = [cells.get((arm, seed, f"of {other}")) for other in ("first stage", "cls", "dual")]
                shown = " | ".join("" if row is None else with_interval(row) for row in kept)
                name, number = arm.removeprefix("re-ranking: "), "" if seed is None else seed
                lines.append(f"| {name} | {number} | {with_interval(cells[arm, seed, measure])} | {shown} |")
        return lines
    lines = [
        "| collection | student | stored numbers | seed | teacher | student | retention of nDCG@10 | p |",
        "|---|---|---|---|---|---|---|---|",
    ]
    cells = {(r["collection"], r["arm"], r["seed"], r["measure"]): r for r in found}
    for collection, arm, seed, measure in cells:
        kind = "students" if arm.startswith(("student ", "static student ")) else "table"
        kind = "symmetric" if arm.startswith("symmetric") else kind
        if measure == "retention nDCG@10" and kind == part:
            own = {
                name: cells[collection, arm, seed, name]
                for name in ("parameters", "teacher nDCG@10", "student nDCG@10")
            }
            kept = cells[collection, arm, seed, measure]
            lines.append(
                f"| {collection} | {arm} | {own['parameters']['value']:,} | {seed}"
                f" | {own['teacher nDCG@10']['value']:.4f} | {own['student nDCG@10']['value']:.4f}"
                f" | {with_interval(kept)} | {kept['p']:.3f} |"
            )
    return lines


def lead(part: str) -> list[str]:
    """One part of LEAD's benchmark: `ladder`, `teachers`, `tests` or `time`."""
    found = rows("lead")
    if part == "tests":
        return paired_tests(found)
    if part == "time":
        lines = ["| | step, ms | peak memory, MB |", "|---|---|---|"]
        held = {(r["arm"], r["measure"]): r for r in found if r["arm"].startswith("time")}
        for arm in ("+ response", "+ re-weighting"):
            own = (held[f"time: {arm}", measure]["value"] for measure in ("step ms", "peak MB"))
            lines.append(f"| {arm} | " + " | ".join(f"{value:,.0f}" for value in own) + " |")
        ratio, memory = held["time", "step time ratio"], held["time", "peak memory ratio"]
        spread = f"{ratio['value']:.3f} (middle 80 % of updates: {ratio['low']:.3f} to {ratio['high']:.3f})"
        return [*lines, f"| ratio | {spread} | {memory['value']:.3f} |"]
    if part == "teachers":
        lines = ["| collection | teacher | nDCG@10 |", "|---|---|---|"]
        return lines + [
            f"| {r['collection']} | {r['arm'].removeprefix('teacher: ')} | {with_interval(r)} |"
            for r in found
            if r["seed"] is None and r["measure"] == "nDCG@10" and "teacher" in r["arm"]
        ]
    lines = ["| collection | teacher | arm | seed 0 | seed 1 | seed 2 |", "|---|---|---|---|---|---|"]
    cells = {(r["collection"], r["arm"], r["seed"]): r for r in found if r["measure"] == "nDCG@10"}
    arms = sorted({key[:2] for key in cells if key[2] is not None}, key=lambda key: (key[0], *lead_order(key[1])))
    for collection, arm in arms:
        kind, _, name = arm.partition(": ")
        own = (cells.get((collection, arm, seed)) for seed in (0, 1, 2))
        shown = " | ".join("not run" if row is None else with_interval(row) for row in own)
        lines.append(f"| {collection} | {kind} | {name} | {shown} |")
    return lines


def lead_order(arm: str) -> tuple[int, int]:
    """Where an arm stands."""
    kinds = ("dual-encoder", "late-interaction", "cross-encoder")
    names = ("contrastive", "+ response", "+ layers (random map)", "+ re-weighting", "fixed map")
    kind, _, name = arm.partition(": ")
    return kinds.index(kind), names.index(name) if name in names else len(names)


def by_seeds(values: list[Row], digits: int = 3) -> str:
    """Mean over seeds, and the seeds' own."""
    if not values:
        return "not run"
    mean = sum(row["value"] for row in values) / len(values)
    own = ", ".join(f"{row['value']:.{digits}f}" for row in values)
    return f"**{mean:.{digits}f}** ({own})"


def of_arms(found: list[Row], measures: tuple[str, ...]) -> list[str]:
    """Mean and seeds of several measures by collection and arm."""
    lines = ["| collection | arm | " + " | ".join(measures) + " |", "|---|---" + "|---" * len(measures) + "|"]
    seeded = dict.fromkeys((r["collection"], r["arm"]) for r in found if r["measure"] in measures)
    for collection, arm in seeded:
        own = [
            [r for r in found if (r["collection"], r["arm"], r["measure"]) == (collection, arm, measure)]
            for measure in measures
        ]
        shown = " | ".join(by_seeds(sorted(values, key=lambda r: r["seed"] or 0)) for values in own)
        lines.append(f"| {collection} | {arm} | {shown} |")
    return lines


def rrd(part: str) -> list[str]:
    """One part of RRD's benchmark: `texts`, `text tests`, `images` or `image tests`."""
    found = rows("rrd" if part.startswith("text") else "rrd_images")
    if part == "texts":
        kept = [r for r in found if r["arm"] != "teacher" and "against" not in r["arm"]]
        return of_arms(kept, ("nDCG@10", "retention nDCG@10", "overlap@10", "Spearman"))
    if part == "images":
        return of_arms([r for r in found if "against" not in r["arm"]], ("accuracy",))
    return paired_tests(found, "nDCG@10" if part == "text tests" else "accuracy")


def scale() -> list[str]:
    """Relations to a bank: time and memory of each form."""
    found = rows("rrd_scale")
    held = {(r["collection"], r["arm"], r["measure"]): r for r in found}
    lines = [
        "| sizes, machine | form | milliseconds | of plain | of the limit | MiB beyond the inputs |",
        "|---|---|---|---|---|---|",
    ]
    for collection, arm, measure in held:
        if measure != "milliseconds":
            continue
        own = [held.get((collection, arm, name)) for name in ("time / plain", "time / limit", "extra MiB at peak")]
        ratios = " | ".join("" if row is None else f"{row['value']:,.2f}" for row in own[:2])
        memory = "" if own[2] is None else f"{own[2]['value']:,.0f}"
        time = held[collection, arm, measure]
        lines.append(f"| {collection} | {arm} | {time['value']:,.1f} | {ratios} | {memory} |")
    return lines


def govern(part: str) -> list[str]:
    """One part of GOVERN's benchmark: `systems`, `arms`, `robust`, `tests`, `cost` or `hybrid`."""
    found = rows("govern")
    held = {(r["arm"], r["seed"], r["measure"]): r for r in found}
    if part == "tests":
        return paired_tests(found, "AP")
    if part == "hybrid":
        lines = [
            "| collection | seed | MiniLM | student | kept | p | share of MiniLM's query time |",
            "|---|---|---|---|---|---|---|",
        ]
        for r in found:
            if r["measure"] == "retention of nDCG@10":
                whole, time = "MiniLM's nDCG@10", "share of MiniLM's query time"
                own = {
                    m: next(
                        x
                        for x in found
                        if x["measure"] == m and x["collection"] == r["collection"] and x["seed"] == r["seed"]
                    )
                    for m in ("nDCG@10", whole, time)
                }
                shown = " | ".join((f"{own[whole]['value']:.4f}", with_interval(own["nDCG@10"]), with_interval(r)))
                lines.append(f"| {r['collection']} | {r['seed']} | {shown} | {r['p']:.4f} | {own[time]['value']:.2%} |")
        return lines
    if part == "systems":
        lines = ["| system | MAP | RR |", "|---|---|---|"]
        return lines + [
            f"| {r['arm'].removeprefix('system: ')} | {r['value']:.4f} | {held[r['arm'], None, 'RR']['value']:.4f} |"
            for r in found
            if r["measure"] == "AP" and r["arm"].startswith("system: ") and "first stage" not in r["arm"]
        ]
    if part == "cost":
        lines = ["| system | ms a pair | million multiply-adds a pair |", "|---|---|---|"]
        return lines + [
            f"| {r['arm']} | {r['value']:.3f} | {held[r['arm'], None, 'multiply-adds a pair']['value'] / 1e6:,.2f} |"
            for r in found
            if r["measure"] == "ms a pair"
        ]
    lines = [
        "| arm | MAP, seed 0 | seed 1 | seed 2 | RR, mean | of the teachers' mean MAP |",
        "|---|---|---|---|---|---|",
    ]
    arms = list(dict.fromkeys(r["arm"] for r in found if r["measure"] == "AP" and r["seed"] is not None))
    for arm in arms:
        if any(f"({name})" in arm for name in ("shuffled", "inverted", "two inverted")) != (part == "robust"):
            continue
        own = [held.get((arm, seed, "AP")) for seed in (0, 1, 2)]
        shown = " | ".join("not run" if row is None else f"{row['value']:.4f}" for row in own)
        ranks = [held[arm, seed, "RR"]["value"] for seed in (0, 1, 2) if (arm, seed, "RR") in held]
        kept = held.get((arm, None, "retention of the ensemble's AP"))
        lines.append(
            f"| {arm} | {shown} | {sum(ranks) / len(ranks):.4f} | {'' if kept is None else with_interval(kept)} |"
        )
    return lines


def signed(row: Row) -> str:
    """A difference and its interval."""
    return f"{row['value']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})"


EMBEDDISTILL = """
`POTSTILL_DATA=DIR python benchmarks/embeddistill.py table` (then `symmetric`, `cross --seeds 0`, `tests`). Machine: 2
cores of an AMD EPYC (AVX-512, no AMX), 24 GiB, no GPU. Teacher: all-MiniLM-L6-v2; students are static towers of at most
a tenth of its numbers, but for those named "static student", of the default size (half of its numbers). Intervals and p
as above; pairs are tested with each query's mean over the seeds.
"""
TABLE_NOTE = """
The paper's rows, each adding one thing: `recipes/embeddistill-1-direct.yaml` to `embeddistill-5-generated.yaml`. Read
with care: (i) every student begins from the teacher's own vectors of its vocabulary, so row 1 has had something of the
teacher too; (ii) two thirds of SciFact's test judgments name a document that a training judgment names, and a third of
its test claims are nearly a training claim in other words or its negation, so what judgments of SciFact teach there
says little about new queries; (iii) "generated" are cuts of the documents, no model wrote them.
"""
CROSS_NOTE = """
Two cross-encoders taught from MiniLM on NFCorpus's training judgments, 64 tokens a pair: `cls`, one logit from the
first token, and `dual`, dual-pooled. All re-rank MiniLM's first 100 documents of each test query. "student of": both
sides are the student's, it learns a cross-encoder's scores of candidate lists, with or without its vectors; "cls scores
+ matching" matches that cross-encoder's one joint vector, which the paper warns of. "on MiniLM's index": the documents
stay MiniLM's vectors. Most have one seed: intervals are over queries only.
"""


LEAD = """
`POTSTILL_DATA=DIR python benchmarks/lead.py grid --jobs 14` (then `tests`). Machine: one NVIDIA H200, 16 cores,
bfloat16, torch 2.11; 14 cells at a time on the one card. Teachers of MiniLM's six layers and a student of three (0, 2
and 5) are first taught contrastively on NFCorpus's training judgments (one epoch, 6,815 lists); MiniLM's weights were
rounded to float16 for the journey. Then every arm trains that student for 2,170 updates of 16 queries with 4 passages,
96 tokens, K = 2 pairs of layers read as means over tokens; the last weights search all documents on their own.
Intervals over queries; pairs are tested with each query's mean over the seeds they have in common.

**SciFact has one seed** (two arms a second): time on the card ran out. Late interaction has no contrastive row of its
own, since that arm listens to no teacher. The cross-encoder's arms are restricted to each query's own four passages, as
LEAD publishes it for that kind: four look-alikes teach nothing about the rest of the collection.
"""
LEAD_TIME = """
`POTSTILL_DATA=DIR python benchmarks/lead_time.py`: the dual encoder's student of three layers with stored blocks, on 2
cores, float32: each batch with the layer term and without, in turn, 36 batches.
"""


RRD = """
`POTSTILL_DATA=DIR python benchmarks/rrd.py grid` (then `tests`). Teacher: all-MiniLM-L6-v2. Students: static towers of
at most a tenth of its numbers, which train on 5,000 queries cut from the documents; no judgments, equal updates within
a mode, nothing tuned, all weights 1. `asymmetric`: the student's queries search the teacher's index; `symmetric`: it
has an index of its own. Mean over seeds, the seeds in brackets; Spearman is that of all scores of a query. "own-space
RRD" has cosine regression beside it where the student is asymmetric, since alone it would leave the teacher's space.
"CosPress" has vectors of 128 numbers, and "the teacher in 128 numbers" is the teacher on that index.
"""
RRD_IMAGES = """
`POTSTILL_DATA=DIR python benchmarks/rrd_images.py grid --jobs 2` (then `tests`): 20,000 images of Fashion-MNIST,
ResNet-20 (0.27 M numbers) to a ResNet-8 of half its width, 12 epochs, 2 cores, bfloat16. "calibrated": 16 effective
neighbours, self excluded, weight lowered with the temperature, so that the gradient is as strong as at the published.
"""
RRD_SCALE = """
`python benchmarks/rrd_scale.py`: value and gradient for a batch of 1,024. `plain` holds batch x bank, `chunked` does
not, `fused` is the same with the Triton kernel that the package takes by itself on CUDA, `compiled` with torch.compile,
`limit` the two matrix products that none can do without, and nothing else. In float32 all values agree to 1e-6, and all
gradients to 3e-5 of their length. On the card `chunked` was measured as it was then, with a search for each text's
nearest row in the same pass; it has left that out since, so `fused` gains a little less over it than the figures say.
"""


QUALITY = """
`POTSTILL_DATA=DIR python benchmarks/quality.py`. Teacher: all-MiniLM-L6-v2; students search its unchanged document
vectors (asymmetric), exact search. Defaults were chosen on SciFact's training judgments and NFCorpus's training
and dev judgments; Cranfield has no other split and was not looked at before. Intervals: paired bootstrap over
queries, 95 %; p: paired randomisation. `tenth` is `recipes/tenth.yaml`, at most 2.27 million numbers. No run reads
a judgment; `no real queries` leaves out the query texts of the other splits too.
"""
LATENCY = """
`python benchmarks/latency.py --phrases 0` (and `--phrases 30000`, `--phrases 0 --rank 128`): SciFact's test
queries, text to vector, all systems in turn in one run.
"""
TRAINING = """
`python benchmarks/training_speed.py --batch 128` (256, 512): one epoch of ours and of sentence-transformers'
trainer (MSELoss on precomputed labels), same table, batch size, threads and texts, in turn. The larger the batch,
the less the trainer's dense optimiser step weighs, and the smaller our lead.
"""
GOVERN = """
`POTSTILL_DATA=DIR python benchmarks/govern.py teach`, `scores`, `grid --jobs 2`, `tests`, `cost`. WikiQA: five teachers
made of all-MiniLM-L6-v2 on the train judgments, and BM25; the student is the dual encoder's query side on its unchanged
document vectors, trained on the candidates of train and dev questions without labels (2 epochs, settings chosen on
dev); measured on the 243 test questions with a right answer. Machine: 2 cores of an Intel Xeon, no GPU. Intervals in
the last column: paired bootstrap over questions, each with its mean over the seeds.
"""
GOVERN_HYBRID = """
`POTSTILL_DATA=DIR python benchmarks/govern_hybrid.py`: `recipes/govern-hybrid.yaml`, a static query encoder on MiniLM's
unchanged index that learns the z-score sum of MiniLM (0.7) and BM25 (0.3) over all documents, from corpus sentences and
the texts of real queries that are not evaluated. The sum itself, which searches twice, reaches 0.736 on SciFact and
0.361 on NFCorpus. Kinds of queries and epochs were chosen on SciFact's training judgments; the test splits were looked
at once.
"""


STORE = """
`python benchmarks/store_read.py`: 256 random rows of 100,000 x 768 float16, read as float32, against a bare memory
map.
"""


def page() -> str:
    """The whole page."""
    parts = [
        "# Benchmarks",
        f"Machine: {MACHINE}. Written by `python docs/make_benchmarks.py` from `benchmarks/results/`.",
        "## Quality: what is kept on the test splits",
        QUALITY.strip(),
        "\n".join(quality()),
        "## EmbedDistill",
        EMBEDDISTILL.strip(),
        "### The cumulative table",
        TABLE_NOTE.strip(),
        "\n".join(embeddistill("table")),
        "### Symmetric students: an index of their own, no judgments",
        "\n".join(embeddistill("symmetric")),
        "### Students of cross-encoders",
        CROSS_NOTE.strip(),
        "\n".join(embeddistill("reranking")),
        "The same students searching all documents, against MiniLM's own search:",
        "\n".join(embeddistill("students")),
        "### Paired tests",
        "\n".join(embeddistill("tests")),
        "## LEAD",
        LEAD.strip(),
        "### The ladder: nDCG@10 on the test splits",
        "\n".join(lead("ladder")),
        "### The teachers",
        "\n".join(lead("teachers")),
        "### Paired tests of arms",
        "\n".join(lead("tests")),
        "### What the layer term costs",
        LEAD_TIME.strip(),
        "\n".join(lead("time")),
        "## RRD",
        "### Texts",
        RRD.strip(),
        "\n".join(rrd("texts")),
        "Paired tests, each query's mean over the seeds:",
        "\n".join(rrd("text tests")),
        "### Images",
        RRD_IMAGES.strip(),
        "\n".join(rrd("images")),
        "Paired tests over the test images, each one's mean over the seeds:",
        "\n".join(rrd("image tests")),
        "### Relations at scale",
        RRD_SCALE.strip(),
        "\n".join(scale()),
        "## GOVERN",
        "### Many teachers, no labels: answer sentences (WikiQA)",
        GOVERN.strip(),
        "\n".join(govern("systems")),
        "Students:",
        "\n".join(govern("arms")),
        "One or two of the six teachers corrupted (their scores turned round); one seed, not all arms:",
        "\n".join(govern("robust")),
        "Paired tests, each question's mean over the seeds:",
        "\n".join(govern("tests")),
        "What a pair costs, one thread; of teachers of vectors and of the student the question alone is encoded:",
        "\n".join(govern("cost")),
        "### Hybrid search in one vector",
        GOVERN_HYBRID.strip(),
        "\n".join(govern("hybrid")),
        "## Latency of one query, one thread, microseconds",
        LATENCY.strip(),
        "\n".join(plain("latency", ("p50",))),
        "## Training speed, two threads",
        TRAINING.strip(),
        "\n".join(plain("training_speed")),
        "## Signal store",
        STORE.strip(),
        "\n".join(plain("store_read")),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    (HERE / "benchmarks.md").write_text(page(), encoding="utf-8")
