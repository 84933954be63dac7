"""What objectives declare, tried out: alignment by rotating a perfect student; spelling; prefixes."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from potstill.objectives import (
    AtPrefixes,
    BankContrast,
    BankRelations,
    BatchGeometry,
    Contrastive,
    CrossMetric,
    EmbeddingMatch,
    LayerRankings,
    ListEnsemble,
    ListVote,
    MarginVote,
    NoiseContrast,
    OwnRelations,
    PointVote,
    PolicyEnsemble,
    ScoreCorrelation,
    ScoreKL,
    ScoreRegression,
    Term,
    inner_scores,
    parse_objective,
    parse_term,
)
from potstill.objectives.functional import document_root, embedding_match
from potstill.objectives.grammar import CLASSES
from potstill.recipe.learning import FORMS


def unit(*shape, seed=0):
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


QUERIES, DOCUMENTS = unit(6, 8, seed=1), unit(20, 8, seed=2)
TURN = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(3)))[0]
EXAMPLES = [
    EmbeddingMatch(),
    EmbeddingMatch("squared"),
    EmbeddingMatch("cosine"),
    EmbeddingMatch("covariance"),
    ScoreKL(),
    ScoreKL(0.1, 0.1),
    ScoreKL(scale_by_temperature=True),
    ScoreRegression("mse"),
    ScoreRegression("margin-mse"),
    ScoreCorrelation("pearson"),
    ScoreCorrelation("spearman"),
    ScoreCorrelation("cmkd"),
    Contrastive(),
    BankRelations(self_policy="include"),
    BankRelations(self_policy="include", chunk=7),
    OwnRelations(),
    *map(BatchGeometry, BatchGeometry.forms),
    BankContrast(),
    BankContrast(0.1),
    NoiseContrast(),
    CrossMetric(),
    LayerRankings("uniform"),
    LayerRankings("adaptive"),
    PointVote("logit"),
    PointVote("bce", soft_temperature=0.25),
    PointVote("probability"),
    MarginVote(tie="drop"),
    ListVote(),
    ListVote(labelled="direction"),
    ListVote(matched="mean"),
    MarginVote(labelled="confidence", matched="vote"),
    *(ListEnsemble(form=form) for form in ListEnsemble.forms),
]


def value(objective, queries, documents, teacher_queries=QUERIES, teacher_documents=DOCUMENTS):
    """Value of a student with these vectors, where the teacher has those. Positives are the teacher's first."""
    scores, teacher = inner_scores(queries, documents), inner_scores(teacher_queries, teacher_documents)
    if isinstance(objective, BankRelations):
        return objective(queries, teacher_queries, bank=teacher_documents)
    if isinstance(objective, BankContrast | NoiseContrast):
        more = {"scale": torch.tensor(10.0)} if getattr(objective, "temperature", 1) is None else {}
        return objective(queries, teacher_queries, bank=teacher_documents, **more)
    if isinstance(objective, CrossMetric):
        return objective(queries, normalize(teacher_queries + 0.3 * teacher_documents[:6], dim=1))
    if isinstance(objective, LayerRankings):
        return objective(scores.expand(2, -1, -1), teacher.expand(2, -1, -1), positives=torch.arange(6))
    if isinstance(objective, PointVote):
        return objective(scores.reshape(-1), teacher.reshape(1, -1))
    if isinstance(objective, MarginVote | ListVote | ListEnsemble):
        return objective(scores, teacher.unsqueeze(0))
    if isinstance(objective, Contrastive):
        return objective(scores, teacher.argmax(dim=1))
    if isinstance(objective, ScoreRegression):
        return objective(scores, teacher, positives=teacher.argmax(dim=1))
    if objective.inputs == "scores":
        return objective(scores, teacher)
    if objective.form == "covariance":
        return objective(queries, teacher_queries, root=document_root(teacher_documents))
    return objective(queries, teacher_queries)


def excess(objective, queries, documents):
    """Value of a student with these vectors, less its value at a perfect copy."""
    return (value(objective, queries, documents) - value(objective, QUERIES, DOCUMENTS)).item()


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
        elif objective.form == "comparative":
            shifted = excess(objective, QUERIES + 0.3 * DOCUMENTS[0], DOCUMENTS)
            assert shifted == pytest.approx(0, abs=1e-5)
            assert own_index > 0.01
        else:
            assert own_index == pytest.approx(0, abs=1e-5)

    @pytest.mark.parametrize("objective", [o for o in EXAMPLES if o.form != "ega"], ids=str)
    def test_rotating_everything_changes_nothing(self, objective):
        student, documents = unit(6, 8, seed=7), unit(20, 8, seed=8)
        before = value(objective, student, documents)
        after = value(objective, student @ TURN, documents @ TURN, QUERIES @ TURN, DOCUMENTS @ TURN)
        torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-4)

    @pytest.mark.parametrize("objective", EXAMPLES, ids=str)
    def test_a_copy_is_at_the_declared_value_and_cannot_do_better(self, objective):
        if objective.perfect_value is None:
            step = QUERIES.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(value(objective, step, DOCUMENTS), step)
            assert gradient.abs().max() > 1e-3  # not the minimum, as declared
            return
        student = QUERIES.clone().requires_grad_()
        perfect = value(objective, student, DOCUMENTS)
        perfect.backward()
        assert student.grad.abs().max() < 1e-4
        if objective.perfect_value == 0.0:
            assert perfect.item() == pytest.approx(0.0, abs=1e-6)
        for seed in range(11, 16):
            assert excess(objective, normalize(QUERIES + 0.1 * unit(6, 8, seed=seed), dim=1), DOCUMENTS) > 0

    @pytest.mark.parametrize("objective", [o for o in EXAMPLES if o.minimum_candidates], ids=str)
    def test_fewer_candidates_than_declared_teach_nothing(self, objective):
        def pull(count):
            student = unit(6, 8, seed=7).requires_grad_()
            value(objective, student, DOCUMENTS[:count], QUERIES, DOCUMENTS[:count]).backward()
            return student.grad.abs().max().item()

        if objective.minimum_candidates > 1 and not isinstance(objective, LayerRankings):
            assert pull(objective.minimum_candidates - 1) < 1e-4
        count = 6 if isinstance(objective, LayerRankings) else objective.minimum_candidates
        assert pull(count) > 1e-3

    def test_every_class_is_tried(self):
        assert {type(o) for o in EXAMPLES} == set(CLASSES)
        assert {(o.family, o.form) for o in EXAMPLES} >= {
            (c.family, form) for c in CLASSES for form in c.forms if form != "agreement"
        }

    @pytest.mark.parametrize("form", ["mse", "margin-mse", "pearson"])
    def test_frozen_documents_bring_the_student_to_the_teachers_query(self, form):
        """What "frozen_documents" promises, whether or not a form sees offsets and scales."""
        objective = parse_objective(f"scores:{form}")
        student = unit(6, 8, seed=7).requires_grad_()
        optimizer = torch.optim.Adam([student], lr=0.05)
        for _ in range(400):
            optimizer.zero_grad()
            value(objective, student, DOCUMENTS).backward()
            optimizer.step()
        assert torch.nn.functional.cosine_similarity(student, QUERIES).min() > 0.999
        unseen = unit(50, 8, seed=9)
        assert torch.equal((student @ unseen.T).argmax(dim=1), (QUERIES @ unseen.T).argmax(dim=1))

    @pytest.mark.parametrize("objective", EXAMPLES, ids=str)
    def test_declarations_are_legal(self, objective):
        for o in (objective, *([AtPrefixes(objective, (4,))] if objective.inputs != "layers" else [])):
            assert o.signals <= {"vectors", "scores", "layers"}
            assert o.inputs in {"vectors", "scores", "layers"}
            assert o.alignment in {"always", "frozen_documents", "never"}
            assert o.perfect_value in (0.0, "teacher entropy", None)
            assert o.minimum_batch >= 1
            assert o.minimum_candidates in (0, 1, 2, 3)
            assert isinstance(o.needs_positives, bool)
            assert isinstance(o.equal_widths, bool)
        with pytest.raises(dataclasses.FrozenInstanceError):
            objective.form = "other"


temperature = st.floats(1e-4, 1e3)
objectives = st.one_of(
    st.builds(EmbeddingMatch, st.sampled_from(EmbeddingMatch.forms)),
    st.builds(ScoreKL, temperature, temperature, st.booleans()),
    st.builds(ScoreRegression, st.sampled_from(ScoreRegression.forms)),
    st.builds(ScoreCorrelation, st.sampled_from(ScoreCorrelation.forms), temperature, temperature),
    st.builds(Contrastive, temperature),
    st.builds(
        BankRelations,
        temperature,
        temperature,
        st.sampled_from(["include", "exclude", "slot"]),
        st.none() | st.integers(1, 9999),
    ),
    st.builds(OwnRelations, temperature, temperature),
    st.builds(BatchGeometry, st.sampled_from(BatchGeometry.forms)),
    st.builds(BankContrast, st.none() | temperature),
    st.builds(NoiseContrast, temperature),
    st.just(CrossMetric()),
    st.builds(
        PointVote,
        st.sampled_from(PointVote.forms),
        st.none() | temperature,
        st.floats(0, 20),
        st.sampled_from(["keep_all", "drop"]),
        st.floats(0, 2),
        st.sampled_from(["kept", "teachers"]),
        st.sampled_from([None, "confidence", "direction"]),
        st.sampled_from([None, "mean", "vote"]),
    ),
    st.builds(MarginVote, soft_temperature=st.none() | temperature),
    st.builds(ListVote, temperature, temperature, st.none() | temperature),
    st.builds(ListEnsemble, temperature, temperature, st.sampled_from(ListEnsemble.forms), st.floats(0.01, 1)),
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
        assert parse_objective("scores") == ScoreKL()
        assert parse_objective("contrastive") == Contrastive()
        assert str(Contrastive(0.1)) == "contrastive:one-hot(temperature=0.1)"
        assert parse_term("scores:margin-mse*2") == Term(ScoreRegression("margin-mse"), 2.0, "query")
        assert parse_objective("scores:spearman(rank_temperature=0.2)") == ScoreCorrelation("spearman", 0.2)
        assert str(ScoreKL(scale_by_temperature=True)) == "scores:kl(scale_by_temperature=true)"
        assert parse_objective("match:covariance[64]") == AtPrefixes(EmbeddingMatch("covariance"), (64,))

    def test_whatever_a_recipe_may_say_there_is(self):
        for family, forms in FORMS.items():
            for form in forms:
                if form == "policy":  # has weights for each of its teachers, so only a recipe that names them makes one
                    assert PolicyEnsemble(2).form == form
                    continue
                objective = parse_objective(f"{family}:{form}")
                assert (objective.family, objective.form) == (family, form)

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
            ("scores:kl(scale_by_temperature=yes)", "true or false"),
            ("scores:huber", "family scores has forms kl, mse, margin-mse, pearson, spearman, cmkd"),
            ("scores:mse(student_temperature=1)", "the options here: none"),
            ("scores:pearson(temperature=1)", "rank_temperature, teacher_temperature"),
            ("contrastive(temperature=0)", "temperature must be a positive"),
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
        more = {"root": document_root(DOCUMENTS)} if form == "covariance" else {}
        assert objective(QUERIES, QUERIES, **more).item() == pytest.approx(objective.perfect_value, abs=1e-6)

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

    @pytest.mark.parametrize(
        "objective",
        [
            ScoreRegression("mse"),
            ScoreRegression("margin-mse"),
            *(ScoreCorrelation(form) for form in ScoreCorrelation.forms),
            Contrastive(),
        ],
        ids=str,
    )
    def test_all_that_reads_scores(self, objective):
        student, positives = unit(6, 8, seed=4), torch.tensor([3, 1, -1, 0, 19, 7])
        second = positives if isinstance(objective, Contrastive) else inner_scores(QUERIES, DOCUMENTS)
        more = {"positives": positives} if objective.form == "margin-mse" else {}
        cut = inner_scores(normalize(student[:, :4], dim=1), normalize(DOCUMENTS[:, :4], dim=1))
        want = (objective(cut, second, **more) + objective(inner_scores(student, DOCUMENTS), second, **more)) / 2
        at = AtPrefixes(objective, (4,))
        torch.testing.assert_close(at(student, second, documents=DOCUMENTS, **more), want)
        assert at.perfect_value is None
        assert (at.needs_positives, at.minimum_candidates) == (objective.needs_positives, objective.minimum_candidates)

    def test_covariance_weighs_by_the_documents_as_cut(self):
        """Raw, it is sqrt(d) times the root mean square of the score errors at the prefix, as at the full width."""
        student, documents = unit(6, 8, seed=4), unit(500, 8, seed=6)
        errors = [(student - QUERIES)[:, :p] @ documents[:, :p].T for p in (4, 8)]
        want = torch.stack([(8 * e.square().mean(dim=1)).sqrt().mean() for e in errors]).mean()
        objective = AtPrefixes(EmbeddingMatch("covariance"), (4,), unit=False)
        torch.testing.assert_close(objective(student, QUERIES, root=document_root(documents)), want)
        unit_cut = AtPrefixes(EmbeddingMatch("covariance"), (4,))(student, QUERIES, root=torch.eye(8))
        torch.testing.assert_close(unit_cut, AtPrefixes(EmbeddingMatch(), (4,))(student, QUERIES))

    def test_what_an_objective_does_not_take_is_not_swallowed(self):
        scores = inner_scores(QUERIES, DOCUMENTS)
        with pytest.raises(TypeError, match="root"):
            AtPrefixes(ScoreKL(), (4,))(QUERIES, scores, documents=DOCUMENTS, root=torch.eye(8))
        with pytest.raises(ValueError, match="no use for `root`"):
            AtPrefixes(EmbeddingMatch(), (4,))(QUERIES, QUERIES, root=torch.eye(8))

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
        with pytest.raises(ValueError, match="needs `documents`"):
            AtPrefixes(Contrastive(), (4,))(QUERIES, torch.arange(6))
        with pytest.raises(ValueError, match="match:covariance needs `root`"):
            AtPrefixes(EmbeddingMatch("covariance"), (4,))(QUERIES, QUERIES)
        with pytest.raises(ValueError, match="again"):
            AtPrefixes(AtPrefixes(ScoreKL(), (4,)), (2,))
        with pytest.raises(ValueError, match="at least one"):
            AtPrefixes(ScoreKL(), ())
