"""Filters: golden cases of every rule, what the provenance counts, and plain loops that do the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.candidates import (
    Candidates,
    Provenance,
    by_teacher_score,
    drop_copies,
    drop_near_duplicates,
    keep_first,
    skip_first,
    text_groups,
)
from potstill.errors import InputError

NAN = float("nan")


def table(rows, scores=None, source=None, documents=40, sources=1):
    rows = np.array(rows, dtype=np.int64)
    falling = np.broadcast_to(-np.arange(rows.shape[1]), rows.shape) if scores is None else np.array(scores)
    return Candidates(
        tuple(f"q{i}" for i in range(len(rows))),
        rows,
        np.where(rows >= 0, falling, -np.inf).astype(np.float32),
        np.zeros(rows.shape, np.uint8) if source is None else np.array(source, np.uint8),
        tuple(Provenance(str(i), {}, len(rows), found=int((rows >= 0).sum())) for i in range(sources)),
        documents,
        "digest",
    )


def dropped(candidates):
    return candidates.provenance[0].dropped


class TestPlaces:
    ROWS = table([[5, 6, 7, 8], [9, -1, -1, -1], [-1, -1, -1, -1]])

    def test_the_first_are_left_out(self):
        left = skip_first(self.ROWS, 2)
        assert left.rows.tolist() == [[7, 8], [-1, -1], [-1, -1]]
        assert left.scores.tolist() == [[-2, -3], [-np.inf] * 2, [-np.inf] * 2]
        assert dropped(left) == {"skipped": 3}
        assert skip_first(self.ROWS, 0).rows.tolist() == self.ROWS.rows.tolist()

    def test_the_first_are_kept(self):
        left = keep_first(self.ROWS, 3)
        assert left.rows.tolist() == [[5, 6, 7], [9, -1, -1], [-1, -1, -1]]
        assert dropped(left) == {"count": 1}
        assert keep_first(self.ROWS, 0).rows.shape == (3, 0)

    def test_holes_have_no_place(self):
        holes = table([[-1, 5, -1, 6, 7]])
        assert skip_first(holes, 1).rows.tolist() == [[6, 7]]
        assert keep_first(holes, 2).rows.tolist() == [[5, 6]]

    def test_counts_go_to_the_source_and_add_up(self):
        two = table([[1, 2, 3], [4, 5, -1]], source=[[0, 1, 0], [1, 1, 0]], sources=2)
        left = keep_first(skip_first(two, 1), 1)
        assert left.rows.tolist() == [[2], [5]]
        assert left.source.tolist() == [[1], [1]]
        assert [p.dropped for p in left.provenance] == [{"skipped": 1, "count": 1}, {"skipped": 1, "count": 0}]
        assert two.provenance[0].dropped == {}

    def test_negative_numbers_are_refused(self):
        for rule in (skip_first, keep_first):
            with pytest.raises(ValueError, match="must not be negative"):
                rule(self.ROWS, -1)


class TestTeacherScore:
    def test_a_share_of_the_positive(self):
        # Limits 0.9 * 10 = 9; -10 - 0.1 * 10 = -11; none; 0.
        scored = table(
            [[1, 2, 3], [1, 2, 3], [1, 2, 3], [1, 2, 3]], [[11, 9, 8.9], [-9, -11, -11.1], [50, 1, 0], [0.1, 0, -0.1]]
        )
        left = by_teacher_score(scored, np.array([10, -10, NAN, 0]), below_positive=0.9)
        assert left.rows.tolist() == [[3, -1, -1], [3, -1, -1], [1, 2, 3], [3, -1, -1]]
        assert dropped(left) == {"below_positive": 6}

    def test_the_whole_positive_and_more(self):
        scored = table([[1, 2, 3], [1, 2, 3]], [[11, 10, 9.9], [-9, -10, -10.1]])
        assert by_teacher_score(scored, np.array([10, -10]), below_positive=1).rows.tolist() == [[3], [3]]
        assert by_teacher_score(scored, np.array([10, -10]), below_positive=1.05).rows.tolist() == [[2, 3], [2, 3]]

    def test_a_highest_score(self):
        scored = table([[1, 2, 3], [4, -1, -1]], [[0.8, 0.5, 0.4], [0.6, 0, 0]])
        left = by_teacher_score(scored, np.array([NAN, NAN]), max_score=0.5)
        assert left.rows.tolist() == [[3], [-1]]
        assert dropped(left) == {"max_score": 3}

    def test_what_two_rules_name_counts_once(self):
        scored = table([[1, 2, 3]], [[0.9, 0.6, 0.1]])
        left = by_teacher_score(scored, np.array([1.0]), below_positive=0.9, max_score=0.5)
        assert left.rows.tolist() == [[3]]
        assert dropped(left) == {"below_positive": 1, "max_score": 1}

    def test_bad_input(self):
        with pytest.raises(InputError, match=r"query 'q1'[\s\S]*1 scores are not finite, the first nan"):
            by_teacher_score(table([[1], [2]], [[0], [NAN]]), np.zeros(2), max_score=1)
        with pytest.raises(ValueError, match="positive_scores"):
            by_teacher_score(table([[1]]), np.zeros(2), max_score=1)
        with pytest.raises(ValueError, match="above 0"):
            by_teacher_score(table([[1]]), np.zeros(1), below_positive=0)


class TestCopies:
    def test_texts_are_numbered(self):
        groups = text_groups(["A b", "c", "a  B", "ｃ", "", "d"])
        assert groups[0] == groups[2]
        assert groups[1] == groups[3]
        assert len(set(groups.tolist())) == 4
        assert text_groups([]).shape == (0,)

    def test_a_text_comes_once_a_query(self):
        same = np.arange(40)
        same[[3, 5, 7]] = 3
        left = drop_copies(table([[7, 1, 3, 2, 5], [5, -1, 2, -1, -1]]), same)
        assert left.rows.tolist() == [[7, 1, 2], [5, 2, -1]]
        assert dropped(left) == {"copies": 2}
        with pytest.raises(ValueError, match="same_text"):
            drop_copies(table([[1]]), same[:3])


def turned(*degrees):
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


class TestNearDuplicates:
    # Degrees; near means within 20.
    VECTORS = turned(0, 10, 90, 105, 120, 15, 180) * np.arange(1, 8, dtype=np.float32)[:, None]
    NEAR = float(np.cos(np.radians(20)))

    def test_near_a_positive_or_a_better_one_that_is_kept(self):
        # 1 and 5 are near the positive 0; 3 is near 2; 4 is near 3, which is gone, and not near 2.
        left = drop_near_duplicates(
            table([[1, 2, 3, 4, 5, 6], [3, 2, 4, 1, 0, -1]], documents=7),
            self.VECTORS.__getitem__,
            [np.array([0]), np.array([], dtype=np.int64)],
            self.NEAR,
        )
        assert left.rows.tolist() == [[2, 4, 6], [3, 1, -1]]
        assert dropped(left) == {"near_positive": 2, "near_candidate": 4, "count": 0}

    def test_stops_when_there_are_enough(self):
        seen = []

        def gather(rows):
            seen.extend(rows.tolist())
            return self.VECTORS[rows]

        left = drop_near_duplicates(
            table([[1, 2, 3, 4, 6, 5]], documents=7), gather, [np.array([0])], self.NEAR, most=2
        )
        assert left.rows.tolist() == [[2, 4]]
        assert dropped(left) == {"near_positive": 1, "near_candidate": 1, "count": 2}
        assert not {5, 6} & set(seen)

    def test_a_vector_of_zeros_is_near_to_nothing(self):
        vectors = np.zeros((3, 2), np.float32)
        left = drop_near_duplicates(table([[1, 2]], documents=3), vectors.__getitem__, [np.array([0])], 0.5)
        assert left.rows.tolist() == [[1, 2]]

    def test_bad_input(self):
        vectors = np.array([[1, 0], [np.nan, 1]], np.float32)
        with pytest.raises(InputError, match="document row 1"):
            drop_near_duplicates(table([[1]], documents=2), vectors.__getitem__, [np.array([0])], 0.9)
        with pytest.raises(ValueError, match="positives of 0 queries"):
            drop_near_duplicates(table([[1]], documents=2), vectors.__getitem__, [], 0.9)

    def test_nothing_to_look_at(self):
        for empty in (table([[-1, -1]]), table(np.zeros((0, 3)))):
            left = drop_near_duplicates(empty, self.VECTORS.__getitem__, [np.array([], np.int64)] * len(empty), 0.9)
            assert left.rows.shape == (len(empty), 0)

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 10**6), st.integers(1, 4), st.floats(0.3, 0.99), st.integers(1, 6))
    def test_is_the_plain_greedy_loop_whatever_the_blocks(self, seed, queries, cosine, most):
        rng = np.random.default_rng(seed)
        vectors = rng.standard_normal((20, 3)).astype(np.float32)
        rows = np.array([rng.permutation(20)[:8] for _ in range(queries)])
        rows[rng.random(rows.shape) < 0.2] = -1
        positives = [rng.permutation(20)[: rng.integers(0, 3)] for _ in range(queries)]
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        want = []
        for line, known in zip(rows, positives, strict=True):
            kept = []
            for row in line[line >= 0]:
                others = [*known, *kept]
                if len(kept) < most and all(unit[row] @ unit[other] < cosine for other in others):
                    kept.append(int(row))
            want.append(kept)
        from potstill.candidates import filtering

        before = filtering._NUMBERS_AT_ONCE
        try:
            for numbers in (before, 1):
                filtering._NUMBERS_AT_ONCE = numbers
                left = drop_near_duplicates(table(rows), vectors.__getitem__, positives, cosine, most=most)
                assert [[r for r in line.tolist() if r >= 0] for line in left.rows] == want
                assert sum(dropped(left).values()) == (rows >= 0).sum() - left.mask.sum()
        finally:
            filtering._NUMBERS_AT_ONCE = before


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 5), st.integers(0, 9))
def test_whatever_is_left_out_the_rest_keeps_its_order_and_the_counts_add_up(seed, queries, width):
    rng = np.random.default_rng(seed)
    rows = np.array([rng.permutation(40)[:width] for _ in range(queries)]).reshape(queries, width)
    rows[rng.random(rows.shape) < 0.2] = -1
    made = table(rows, rng.standard_normal(rows.shape), rng.integers(0, 3, rows.shape), sources=3)
    gone = {name: rng.random(rows.shape) < 0.3 for name in "ab"}
    left = made.without(gone)
    for i in range(queries):
        stays = made.mask[i] & ~gone["a"][i] & ~gone["b"][i]
        count = int(stays.sum())
        for name in ("rows", "scores", "source"):
            np.testing.assert_array_equal(getattr(left, name)[i, :count], getattr(made, name)[i, stays])
        assert (left.rows[i, count:] == -1).all()
        assert (left.scores[i, count:] == -np.inf).all()
    for number, provenance in enumerate(left.provenance):
        found = int((made.mask & (made.source == number)).sum())
        assert found - sum(provenance.dropped.values()) == (left.mask & (left.source == number)).sum()
    assert left.rows.shape[1] == left.mask.sum(axis=1).max(initial=0)
