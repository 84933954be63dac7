"""What objectives declare, tried out: alignment by rotating a perfect student; spelling; prefixes; calibration."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from potstill.objectives import (
    AtPrefixes,
    BankRelations,
    EmbeddingMatch,
    LayerRankings,
    ListVote,
    MarginVote,
    OwnRelations,
    PointVote,
    ScoreKL,
    Term,
    calibrate_temperature,
    inner_scores,
    parse_objective,
    parse_term,
)
from potstill.objectives.functional import embedding_match
from potstill.objectives.grammar import CLASSES


def unit(*shape, seed=0):
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


QUERIES, DOCUMENTS = unit(6, 8, seed=1), unit(20, 8, seed=2)
TURN = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(3)))[0]
EXAMPLES = [
    EmbeddingMatch(),
    EmbeddingMatch("squared"),
    EmbeddingMatch("cosine"),
    ScoreKL(),
    ScoreKL(0.1, 0.1),
    BankRelations(self_policy="include"),
    BankRelations(self_policy="include", chunk=7),
    OwnRelations(),
    LayerRankings("uniform"),
    LayerRankings("adaptive"),
    PointVote("logit"),
    PointVote("bce", soft_temperature=0.25),
    PointVote("probability"),
    MarginVote(tie="drop"),
    ListVote(),
]


def excess(objective, queries, documents):
    """Value of a student with these vectors, less its value at a perfect copy; teachers say QUERIES and DOCUMENTS."""
    teacher = inner_scores(QUERIES, DOCUMENTS)

    def value(queries, documents):
        scores = inner_scores(queries, documents)
        if isinstance(objective, BankRelations):
            return objective(queries, QUERIES, bank=DOCUMENTS)
        if isinstance(objective, LayerRankings):
            return objective(scores.expand(2, -1, -1), teacher.expand(2, -1, -1), positives=torch.arange(6))
        if isinstance(objective, PointVote):
            return objective(scores.reshape(-1), teacher.reshape(1, -1))
        if isinstance(objective, MarginVote | ListVote):
            return objective(scores, teacher.unsqueeze(0))
        if objective.inputs == "scores":
            return objective(scores, teacher)
        return objective(queries, QUERIES)

    return (value(queries, documents) - value(QUERIES, DOCUMENTS)).item()


class TestAlignment:
    @pytest.mark.parametrize("objective", EXAMPLES, ids=str)
    def test_rotating_a_perfect_student(self, objective):
        """A rotated copy keeps its own index working; only what ties it to the teacher's space can see the rotation."""
        own_index = excess(objective, QUERIES @ TURN, DOCUMENTS @ TURN)
        teachers_index = excess(objective, QUERIES @ TURN, DOCUMENTS)
        if objective.alignment == "always":
            assert own_index > 0.01
        elif objective.alignment == "frozen_documents":
            assert own_index == pytest.approx(0, abs=1e-5)
            assert teachers_index > 0.01
        else:
            assert own_index == pytest.approx(0, abs=1e-5)

    def test_every_class_is_tried(self):
        assert {type(o) for o in EXAMPLES} == set(CLASSES)

    @pytest.mark.parametrize("objective", EXAMPLES, ids=str)
    def test_declarations_are_legal(self, objective):
        for o in (objective, *([AtPrefixes(objective, (4,))] if objective.inputs != "layers" else [])):
            assert o.signals <= {"vectors", "scores", "layers"}
            assert o.inputs in {"vectors", "scores", "layers"}
            assert o.alignment in {"always", "frozen_documents", "never"}
            assert o.perfect_value in (0.0, "teacher entropy", None)
            assert o.minimum_batch >= 1
            assert o.minimum_candidates in (0, 2)
            assert isinstance(o.needs_positives, bool)
            assert isinstance(o.equal_widths, bool)
        with pytest.raises(dataclasses.FrozenInstanceError):
            objective.form = "other"


temperature = st.floats(1e-4, 1e3)
objectives = st.one_of(
    st.builds(EmbeddingMatch, st.sampled_from(EmbeddingMatch.forms)),
    st.builds(ScoreKL, temperature, temperature),
    st.builds(
        BankRelations,
        temperature,
        temperature,
        st.sampled_from(["include", "exclude", "slot"]),
        st.none() | st.integers(1, 9999),
    ),
    st.builds(OwnRelations, temperature, temperature),
    st.builds(
        PointVote,
        st.sampled_from(PointVote.forms),
        st.none() | temperature,
        st.floats(0, 20),
        st.sampled_from(["keep_all", "drop"]),
        st.floats(0, 2),
        st.sampled_from(["kept", "teachers"]),
    ),
    st.builds(MarginVote, soft_temperature=st.none() | temperature),
    st.builds(ListVote, temperature, temperature, st.none() | temperature),
)
prefixed = st.builds(
    AtPrefixes,
    objectives,
    st.lists(st.integers(1, 4096), min_size=1, max_size=4, unique=True).map(tuple),
    st.booleans(),
)
any_objective = objectives | prefixed | st.builds(LayerRankings, st.sampled_from(LayerRankings.forms), temperature)


class TestGrammar:
    @settings(max_examples=200)
    @given(any_objective, st.floats(1e-6, 1e6), st.sampled_from(["query", "document", "both"]))
    def test_round_trip(self, objective, weight, role):
        assert parse_objective(str(objective)) == objective
        term = Term(objective, weight, role)
        assert parse_term(str(term)) == term

    def test_examples(self):
        assert str(Term(EmbeddingMatch())) == "match:l2*1.0@query"
        assert parse_term("match") == Term(EmbeddingMatch("l2"), 1.0, "query")
        assert parse_term("scores:kl(student_temperature = 0.1) * 0.5 @document") == Term(ScoreKL(0.1), 0.5, "document")
        assert parse_objective("match:cosine[64,128;raw]") == AtPrefixes(
            EmbeddingMatch("cosine"), (64, 128), unit=False
        )
        assert str(BankRelations()) == "relations:bank"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "cannot read"),
            ("match:l2*", "cannot read"),
            ("match:l2**2", "cannot read"),
            ("match:manhattan", "family match has forms l2, squared, cosine"),
            ("distance:l2", "no family 'distance'"),
            ("match:l2(p=2)", "the options here: none"),
            ("scores:kl(temperature=1)", "student_temperature, teacher_temperature"),
            ("scores:kl(student_temperature)", "cannot read the option"),
            ("scores:kl(student_temperature=1,student_temperature=2)", "cannot read the option"),
            ("scores:kl(student_temperature=hot)", "student_temperature"),
            ("scores:kl(student_temperature=none)", "student_temperature"),
            ("scores:kl(student_temperature=-1)", "student_temperature"),
            ("match:l2*heavy", "not a number"),
            ("match:l2*-1", "positive number"),
            ("match:l2*nan", "positive number"),
            ("match:l2@index", "role"),
            ("match:l2[]", "cannot read"),
            ("match:l2[64,64]", "different"),
            ("match:l2[0]", "positive widths"),
            ("layers:uniform[64]", "no prefixes"),
        ],
    )
    def test_mistakes_are_named(self, text, message):
        with pytest.raises(ValueError, match=message):
            parse_term(text)


class TestPrefixes:
    def test_matching_uses_the_same_prefix_of_the_teacher(self):
        student, teacher = unit(5, 8, seed=4), unit(5, 8, seed=5)
        want = [
            embedding_match(normalize(student[:, :p], dim=1), normalize(teacher[:, :p], dim=1))
            if p < 8
            else embedding_match(student, teacher)
            for p in (2, 4, 8)
        ]
        torch.testing.assert_close(AtPrefixes(EmbeddingMatch(), (4, 2))(student, teacher), torch.stack(want).mean())
        raw = [embedding_match(student[:, :p], teacher[:, :p]) for p in (2, 4, 8)]
        got = AtPrefixes(EmbeddingMatch(), (4, 2), unit=False)(student, teacher)
        torch.testing.assert_close(got, torch.stack(raw).mean())

    def test_the_full_width_is_always_among_them_and_once(self):
        student, teacher = unit(5, 8, seed=4), unit(5, 8, seed=5)
        got = AtPrefixes(EmbeddingMatch(), (8,))(student, teacher)
        torch.testing.assert_close(got, EmbeddingMatch()(student, teacher))
        leaf = student.clone().requires_grad_()
        AtPrefixes(EmbeddingMatch(), (2,))(leaf, teacher).backward()
        assert (leaf.grad[:, 2:] != 0).all()

    @pytest.mark.parametrize("form", EmbeddingMatch.forms)
    def test_a_copy_has_no_loss(self, form):
        objective = AtPrefixes(EmbeddingMatch(form), (2, 4))
        assert objective(QUERIES, QUERIES).item() == pytest.approx(objective.perfect_value, abs=1e-6)

    def test_scores_are_taken_against_prefixes_of_the_documents_for_the_full_teacher(self):
        student, teacher = unit(6, 8, seed=4), inner_scores(QUERIES, DOCUMENTS)
        objective = AtPrefixes(ScoreKL(), (4,))
        cut = inner_scores(normalize(student[:, :4], dim=1), normalize(DOCUMENTS[:, :4], dim=1))
        want = (ScoreKL()(cut, teacher) + ScoreKL()(inner_scores(student, DOCUMENTS), teacher)) / 2
        torch.testing.assert_close(objective(student, teacher, documents=DOCUMENTS), want)
        torch.testing.assert_close(objective(student, teacher, documents=DOCUMENTS.expand(6, 20, 8)), want)
        mask = torch.arange(20).expand(6, 20) < 7
        torch.testing.assert_close(
            objective(student, teacher, documents=DOCUMENTS, mask=mask),
            objective(student, teacher[:, :7], documents=DOCUMENTS[:7]),
        )
        assert objective.perfect_value is None

    def test_relations(self):
        student = unit(6, 8, seed=4)
        bank = BankRelations(self_policy="include")

        def cut(vectors):
            return normalize(vectors[:, :4], dim=1)

        got = AtPrefixes(bank, (4,))(student, QUERIES, bank=DOCUMENTS)
        want = (bank(student, QUERIES, bank=DOCUMENTS) + bank(cut(student), cut(QUERIES), bank=cut(DOCUMENTS))) / 2
        torch.testing.assert_close(got, want)
        own = AtPrefixes(OwnRelations(), (4,))(student, QUERIES)
        torch.testing.assert_close(own, (OwnRelations()(student, QUERIES) + OwnRelations()(cut(student), QUERIES)) / 2)

    def test_bad_input(self):
        with pytest.raises(ValueError, match="wider than the student's 8"):
            AtPrefixes(EmbeddingMatch(), (16,))(QUERIES, QUERIES)
        with pytest.raises(ValueError, match="needs `documents`"):
            AtPrefixes(ScoreKL(), (4,))(QUERIES, inner_scores(QUERIES, DOCUMENTS))
        with pytest.raises(ValueError, match="again"):
            AtPrefixes(AtPrefixes(ScoreKL(), (4,)), (2,))
        with pytest.raises(ValueError, match="at least one"):
            AtPrefixes(ScoreKL(), ())


class TestCalibration:
    @settings(max_examples=25, deadline=None)
    @given(st.floats(1.5, 90.0), st.floats(1e-3, 1e3), st.floats(-50, 50))
    def test_reaches_the_perplexity_on_any_scale(self, perplexity, scale, offset):
        scores = torch.randn(64, 100, generator=torch.Generator().manual_seed(0)).double()
        found = calibrate_temperature(scores * scale + offset, perplexity)
        assert found.perplexity == pytest.approx(perplexity, rel=1e-3)
        p = torch.softmax((scores * scale + offset) / found.temperature, 1)
        reached = (-(p * p.clamp(min=1e-300).log()).sum(1)).exp().median().item()
        assert reached == pytest.approx(perplexity, rel=1e-3)
        assert found.top1_mass == pytest.approx(p.amax(1).median().item())
        assert (found.rows, found.constant_rows) == (64, 0)

    def test_follows_the_scale_of_the_teacher(self):
        scores = torch.randn(64, 100, generator=torch.Generator().manual_seed(0))
        narrow, wide = calibrate_temperature(scores * 0.01), calibrate_temperature(scores)
        assert wide.temperature == pytest.approx(100 * narrow.temperature, rel=1e-4)

    def test_masked_and_constant_rows(self):
        scores = torch.randn(64, 50, generator=torch.Generator().manual_seed(0))
        holed = torch.cat([scores, torch.full((64, 5), float("nan"))], dim=1)
        holed[:3] = 1.0
        mask = torch.arange(55).expand(64, 55) < 50
        found = calibrate_temperature(holed, 10.0, mask)
        assert found.constant_rows == 3
        assert found.temperature == calibrate_temperature(scores[3:], 10.0).temperature

    def test_bad_input(self):
        scores = torch.randn(8, 10, generator=torch.Generator().manual_seed(0))
        with pytest.raises(ValueError, match="constant"):
            calibrate_temperature(torch.ones(4, 10))
        with pytest.raises(ValueError, match="NaN"):
            calibrate_temperature(scores.masked_fill(scores > 1, math.nan))
        with pytest.raises(ValueError, match="out of reach: these candidates allow 1 to 10"):
            calibrate_temperature(scores, 16.0)
        with pytest.raises(ValueError, match="above 1"):
            calibrate_temperature(scores, 1.0)
