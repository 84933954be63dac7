"""Relations in training: queues, banks of the store, who is left out, and that all of it is state."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from relation_toys import DOCUMENTS, QUERIES, QUEUE, related, relation_task

from potstill.errors import InputError
from potstill.objectives.functional import relation_cross_entropy
from potstill.recipe import BankSpec, ObjectiveSpec, TrainingSpec
from potstill.training.checks import check
from potstill.training.loop import _Loop, train
from potstill.training.queue import VectorQueue
from potstill.training.relation_terms import drawn_documents
from potstill.training.task import Task
from potstill.training.terms import build_terms

SPEC = TrainingSpec(
    epochs=3, max_texts_per_batch=8, tokens_per_batch=200, learning_rate=1e-3, select="last", clip=None, bf16=False
)
EVERY = (
    related("bank", bank=QUEUE, teacher_temperature=0.1),
    related("disco", bank=QUEUE),
    related("bank", bank={"rows": "store", "neighbours": 3, "random": 4, "corrected": True}, teacher_temperature=0.1),
    related("cross-metric"),
    related("own", teacher_temperature=0.1),
)
CHILD = Path(__file__).with_name("train_child.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("relations")


class TestQueue:
    @settings(deadline=None, max_examples=60)
    @given(size=st.integers(1, 12), batches=st.lists(st.integers(0, 20), max_size=8))
    def test_holds_the_last_vectors_whatever_the_batches(self, size, batches):
        queue, pushed = VectorQueue(size, 3), []
        for count in batches:
            new = torch.nn.functional.normalize(torch.randn(count, 3), dim=1)
            ids = torch.arange(len(pushed), len(pushed) + count)
            queue.push(new, ids)
            pushed += list(zip(new, ids.tolist(), strict=True))
        rows, ids = queue.filled()
        last = pushed[-size:]
        assert sorted(ids.tolist()) == [number for _, number in last]
        assert queue.pointer == len(pushed) % size
        by_id = {number: vector for vector, number in last}
        for row, number in zip(rows, ids.tolist(), strict=True):
            assert torch.equal(row, by_id[number])
        if len(pushed) >= size:
            assert torch.allclose(queue.rows.norm(dim=1), torch.ones(size))  # invariant 12 of `rrd.md` 5.1

    def test_is_state(self):
        queue, other = VectorQueue(5, 2), VectorQueue(5, 2)
        queue.push(torch.randn(7, 2), torch.arange(7))
        other.load_state_dict(queue.state_dict())
        for each in (queue, other):
            each.push(torch.ones(2, 2), torch.tensor([7, 8]))
        assert torch.equal(queue.rows, other.rows)
        assert torch.equal(queue.ids, other.ids)
        assert queue.pointer == other.pointer == 4

    def test_refuses_nonsense(self):
        with pytest.raises(ValueError, match="at least 1 row"):
            VectorQueue(0, 2)
        with pytest.raises(ValueError, match="3 vectors and 2 ids"):
            VectorQueue(5, 2).push(torch.randn(3, 2), torch.arange(2))


class TestDrawnDocuments:
    @settings(deadline=None, max_examples=60)
    @given(st.integers(1, 40), st.integers(0, 50), st.lists(st.integers(-1, 39), max_size=10), st.integers(0, 99))
    def test_what_is_known_is_there_once(self, documents, count, known, seed):
        known = np.array([row for row in known if row < documents], dtype=np.int64)
        rows, offsets = drawn_documents(BankSpec(random=count), known, documents, np.random.default_rng(seed))
        assert offsets is None
        assert np.array_equal(rows, np.unique(rows))
        assert set(known[known >= 0]) <= set(rows)
        assert rows.max(initial=-1) < documents

    @settings(deadline=None, max_examples=60)
    @given(st.integers(2, 200), st.integers(1, 50), st.lists(st.integers(0, 39), max_size=10), st.integers(0, 99))
    def test_corrected_rows_stand_for_the_whole_collection(self, documents, count, known, seed):
        known = np.array([row for row in known if row < documents], dtype=np.int64)
        spec = BankSpec(random=count, corrected=True)
        rows, offsets = drawn_documents(spec, known, documents, np.random.default_rng(seed))
        assert set(offsets[np.isin(rows, known)]) <= {0.0}
        if not np.isin(rows, known).all():
            assert np.exp(offsets).sum() == pytest.approx(documents, rel=1e-4)

    def test_corrected_logits_give_the_whole_softmax_in_the_mean(self):
        """Beside the nearest rows, random ones with their correction pull as all rows would have pulled."""
        torch.manual_seed(0)
        student, teacher, bank = (torch.nn.functional.normalize(torch.randn(n, 8), dim=1) for n in (6, 6, 3_000))
        near = (teacher @ bank.T).topk(20).indices.unique().numpy()

        def pull(rows: torch.Tensor, offsets: torch.Tensor | None) -> torch.Tensor:
            leaf = student.clone().requires_grad_()
            relation_cross_entropy(leaf, teacher, bank[rows], 0.3, 0.3, offsets=offsets).backward()
            return leaf.grad

        whole, found = pull(torch.arange(3_000), None), {False: [], True: []}
        for seed in range(20):
            spec = BankSpec(random=400, corrected=True)
            rows, offsets = map(torch.from_numpy, drawn_documents(spec, near, 3_000, np.random.default_rng(seed)))
            for corrected, pulls in found.items():
                pulls.append(pull(rows, offsets if corrected else None))
        off = {
            corrected: (torch.stack(pulls).mean(0) - whole).norm() / whole.norm() for corrected, pulls in found.items()
        }
        assert off[True] < 0.1
        assert off[False] > 2 * off[True]


def prepared(task: Task, data, rows=None, step: int = 0):
    rows = np.arange(len(data)) if rows is None else np.asarray(rows)
    batch = task.prepare(data, rows, step)
    return batch, task(batch)


class TestBanks:
    def test_all_documents_and_the_text_itself_left_out(self, folder):
        """The term is the objective on the whole collection; a document is not its own neighbour, nor is its copy."""
        task, data = relation_task(folder, related(bank={"rows": "all"}, teacher_temperature=0.1))
        batch, outputs = prepared(task, data)
        documents = torch.from_numpy(data.documents.array)
        queries = torch.from_numpy(data.query_targets.array)
        groups = torch.from_numpy(data.relating.groups["document"])
        of_queries = relation_cross_entropy(outputs.queries, queries, documents, 0.1, 0.1)
        others = groups.unsqueeze(1) != groups
        assert not others[4, 5]
        of_documents = relation_cross_entropy(outputs.documents, documents, documents, 0.1, 0.1, others)
        expected = (of_queries * QUERIES + of_documents * DOCUMENTS) / (QUERIES + DOCUMENTS)
        found = task.losses(outputs, batch).terms["relations:bank@both (all)"]
        assert found.item() == pytest.approx(expected.item(), rel=1e-5)

    def test_a_bank_of_the_store_has_the_neighbours_and_what_the_batch_fits(self, folder):
        bank = {"rows": "store", "neighbours": 2, "random": 0}
        task, data = relation_task(folder, related(role="query", bank=bank, teacher_temperature=0.1))
        batch, _ = prepared(task, data, [0, 1, 2])
        drawn = batch.related["relations:bank (store)", "query"]
        wanted = {*data.relating.neighbours["query"][:3, :2].ravel(), *(s for s in data.sources[:3] if s >= 0)}
        assert set(drawn.bank.ids.tolist()) == {int(data.relating.groups["document"][row]) for row in wanted}
        assert set(drawn.ids.tolist()) == {-1}  # a query is in no bank of documents

    def test_random_rows_change_with_the_step_and_with_nothing_else(self, folder):
        bank = {"rows": "store", "neighbours": 0, "random": 4}
        task, data = relation_task(folder, related(role="query", bank=bank, teacher_temperature=0.1))
        rows = [
            prepared(task, data, [0, 1], s)[0].related["relations:bank (store)", "query"].bank.rows for s in (0, 0, 1)
        ]
        assert torch.equal(rows[0], rows[1])
        assert rows[0].shape != rows[2].shape or not torch.equal(rows[0], rows[2])

    def test_a_queue_is_filled_by_training_alone_and_has_the_batch_in_it(self, folder):
        task, data = relation_task(folder, related(role="query", bank=QUEUE, teacher_temperature=0.1))
        queue = task.relations.queues["0_query"]
        batch, outputs = prepared(task, data, [0, 1, 2])
        task.losses(outputs, batch)
        assert queue.pointer == 3
        targets = torch.from_numpy(data.query_targets.gather(np.arange(3)))
        assert torch.equal(queue.filled()[0], targets)
        mask = ~torch.eye(3, dtype=torch.bool)
        again, outputs = prepared(task, data, [3])
        task.eval()
        task.losses(outputs, again)
        assert queue.pointer == 3
        task.train()
        fresh, _ = relation_task(folder, related(role="query", bank=QUEUE, teacher_temperature=0.1))
        batch, outputs = prepared(fresh, data, [0, 1, 2])
        expected = relation_cross_entropy(outputs.queries, targets, targets, 0.1, 0.1, mask)
        assert fresh.losses(outputs, batch).total.item() == pytest.approx(expected.item(), rel=1e-5)

    def test_a_text_that_comes_again_is_not_its_own_neighbour(self, folder):
        """Pitfall 7 of `rrd.md`: the copy of an earlier epoch is left out by identity."""
        task, data = relation_task(folder, related(role="query", bank=QUEUE, teacher_temperature=0.1))
        for _ in range(2):
            batch, outputs = prepared(task, data, [0, 1, 2])
            value = task.losses(outputs, batch).total
        targets = torch.from_numpy(data.query_targets.gather(np.arange(3)))
        mask = (~torch.eye(3, dtype=torch.bool)).repeat(1, 2)
        expected = relation_cross_entropy(outputs.queries, targets, targets.repeat(2, 1), 0.1, 0.1, mask)
        assert value.item() == pytest.approx(expected.item(), rel=1e-5)

    def test_centroids_are_no_text(self, folder):
        task, data = relation_task(folder, related(bank={"rows": "centroids", "size": 3}, teacher_temperature=0.1))
        batch, outputs = prepared(task, data)
        centres = torch.from_numpy(data.relating.centroids[3])
        whole = torch.cat([outputs.queries, outputs.documents])
        targets = torch.from_numpy(np.concatenate([data.query_targets.array, data.documents.array]))
        expected = relation_cross_entropy(whole, targets, centres, 0.1, 0.1)
        assert task.losses(outputs, batch).total.item() == pytest.approx(expected.item(), rel=1e-5)

    def test_partners_are_encoded_and_met(self, folder):
        task, data = relation_task(folder, related("cross-metric"))
        batch, outputs = prepared(task, data, [1, 2, 4])  # queries alone; 4 has no document
        assert len(batch.document_tokens) == 2
        pairs = [(0, 1), (1, 2)]  # place of the query, document
        total = 0.0
        for place, document in pairs:
            of_document = outputs.documents[[1, 2].index(document)]
            target, asked = (torch.from_numpy(v.array[document]) for v in (data.documents, data.query_targets))
            total += (outputs.queries[place] - target).square().sum() + (of_document - asked).square().sum()
        assert task.losses(outputs, batch).total.item() == pytest.approx(total.item() / 4, rel=1e-5)

    def test_a_batch_too_small_for_a_term_gives_it_no_say(self, folder):
        task, data = relation_task(folder, related("rkd-angle", role="query"), related("own", role="query"))
        batch, outputs = prepared(task, data, [0])
        assert task.losses(outputs, batch).total.item() == 0

    def test_what_is_logged(self, folder):
        task, data = relation_task(folder, related(bank={"rows": "all"}, teacher_temperature=0.1))
        batch, outputs = prepared(task, data)
        value = task.losses(outputs, batch).terms["relations:bank@both (all)"].item()
        found = task.details(outputs, batch)["relations"]
        assert found.keys() == {"relations:bank@both (all), query", "relations:bank@both (all), document"}
        counts = (QUERIES, DOCUMENTS)
        sums = [of["kl_gap"] + of["teacher_entropy"] for of in found.values()]
        assert np.average(sums, weights=counts) == pytest.approx(value, rel=1e-5)
        assert all(0 <= of["top1_agreement"] <= 1 and of["kl_gap"] > 0 for of in found.values())

    def test_cosine_spaces_are_compared_by_angle(self, folder):
        spec = related(bank={"rows": "all"}, teacher_temperature=0.1)
        task, data = relation_task(folder, spec)
        batch, outputs = prepared(task, data)
        expected = task.losses(outputs, batch).total.item()
        scaled = replace(data, documents=type(data.documents)(3 * data.documents.array))
        cosine = Task(task.query_tower, build_terms([spec]), mode="shared", metric="cosine").train()
        batch, outputs = prepared(cosine, scaled)
        assert cosine.losses(outputs, batch).total.item() == pytest.approx(expected, rel=1e-4)


class TestState:
    @pytest.mark.parametrize("step", [1, 9])
    def test_a_run_killed_anywhere_ends_in_the_same_bytes(self, folder, tmp_path, monkeypatch, step):
        """Banks, pointers and the learned scale are in the checkpoint (`rrd.md`, pitfall 10)."""
        spec = SPEC.model_copy(update={"checkpoint_seconds": 1e-9})

        def run(name: str, *, resume: bool = False) -> dict[str, bytes]:
            task, data = relation_task(folder, *EVERY)
            train(task, data, spec, tmp_path / name, resume=resume)
            return {key: value.numpy().tobytes() for key, value in task.state_dict().items()}

        expected = run("whole")
        assert any("queues.0_query" in key for key in expected)
        assert any("scales" in key for key in expected)
        update = _Loop._update

        class Killed(BaseException):
            pass

        def fatal(self, *arguments):
            if self.at.step == step:
                raise Killed
            update(self, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(_Loop, "_update", fatal)
            with pytest.raises(Killed):
                run("killed")
        assert run("killed", resume=True) == expected
        told = [json.loads(line) for line in (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()]
        assert any(line.get("relations") for line in told)

    def test_the_learned_scale_moves(self, folder, tmp_path):
        task, data = relation_task(folder, related("disco", bank=QUEUE))
        train(task, data, SPEC, tmp_path)
        assert task.relations.scales["0"].item() != 1.0

    def test_two_processes_end_in_the_weights_and_banks_of_one(self, folder, tmp_path):
        """Every bank holds the whole batch's rows, in one order, on every rank (`rrd.md`, pitfall 9)."""
        task, data = relation_task(folder, *EVERY)
        train(task, data, SPEC, tmp_path / "one")
        children = [
            subprocess.Popen([sys.executable, str(CHILD), "relations", str(folder), str(tmp_path), str(rank), "2"])
            for rank in range(2)
        ]
        assert [child.wait(timeout=180) for child in children] == [0, 0]
        found = torch.load(tmp_path / "found.pt", weights_only=True)
        for name, value in task.state_dict().items():
            if "queues" in name:
                assert torch.equal(found[name], value), name
            else:
                torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4, msg=name)


class TestRefusals:
    @pytest.mark.parametrize(
        ("spec", "where", "says"),
        [
            ({"form": "bank", "teacher": "x"}, "teacher", "vectors of the teacher of vectors"),
            ({"form": "bank", "documents": "mined"}, "documents", "against a `bank`"),
            ({"form": "bank", "count": 4}, "count", "against a `bank`"),
            ({"form": "pkt", "bank": {"perplexity": 4}}, "bank.perplexity", "no bank"),
            ({"form": "pkt", "student_temperature": 1}, "student_temperature", "has no student_temperature"),
            ({"form": "disco", "bank": {"ratio": 2}}, "bank.ratio", "no such option"),
            ({"form": "disco", "bank": {"rows": "all"}}, "bank.rows", "others of its role"),
            ({"form": "bank", "bank": {"preset": "paper-cli"}, "teacher_temperature": 1}, "bank.preset", "both temper"),
            ({"form": "bank", "bank": {"rows": "all"}, "student_temperature": 1}, "student_temperature", "alone"),
            ({"form": "bank", "bank": {"rows": "all", "self_policy": "slot"}}, "bank.self_policy", "not mixed"),
        ],
    )
    def test_what_makes_no_sense(self, spec, where, says):
        given = {**spec, "bank": BankSpec(**spec.get("bank", {}))}
        with pytest.raises(InputError, match=says) as error:
            build_terms([ObjectiveSpec(family="relations", **given)])
        assert error.value.where == f"objectives.0.{where}"

    def test_a_bank_of_another_family(self):
        with pytest.raises(InputError, match="`bank` is for relations"):
            build_terms([ObjectiveSpec(family="match", bank=BankSpec(perplexity=3))])

    @pytest.mark.parametrize(
        "bank",
        [
            {"rows": "store", "neighbours": 0, "random": 0},
            {"rows": "all", "size": 4},
            {"rows": "all", "corrected": True},
            {"preset": "paper-cli", "self_policy": "slot"},
            {"preset": "paper-cli", "rows": "all"},
            {"rows": "queue", "size": 1},
        ],
    )
    def test_banks_that_contradict_themselves(self, bank):
        with pytest.raises(ValueError, match=r"bank|size|corrected|preset|greater"):
            BankSpec(**bank)

    def test_a_student_that_could_rotate_is_not_let_onto_the_teachers_index(self, folder):
        task, data = relation_task(folder, related("own", role="query", teacher_temperature=0.1))
        alone = Task(task.query_tower, task.terms)
        plain = replace(data, document_tokens=None, trained_documents=np.empty(0, np.int64))
        with pytest.raises(InputError, match="keeps the student in the teacher's space"):
            check(alone, plain)
        beside = build_terms([related("own", role="query", teacher_temperature=0.1), ObjectiveSpec(family="match")])
        check(Task(task.query_tower, beside), plain)

    def test_documents_that_are_the_teachers_own_are_not_related(self, folder):
        task, data = relation_task(folder, related(bank={"rows": "all"}, teacher_temperature=0.1))
        plain = replace(data, document_tokens=None, trained_documents=np.empty(0, np.int64))
        with pytest.raises(InputError, match="makes no vectors of them"):
            check(Task(task.query_tower, task.terms), plain)

    def test_no_partner_anywhere(self, folder):
        task, data = relation_task(folder, related("cross-metric"))
        with pytest.raises(InputError, match="no query has a document"):
            check(task, replace(data, sources=None))


def test_presets_are_the_published_settings():
    for name, temperatures, policy in (("paper-cli", (0.02, 0.1), "include"), ("legacy-2024", (0.1, 0.04), "exclude")):
        (term,) = build_terms([related(role="query", bank={"preset": name})])
        assert (term.inner.teacher_temperature, term.inner.student_temperature) == temperatures
        assert term.inner.self_policy == policy
        assert term.rows == "queue"
    assert math.isclose(
        build_terms([related(bank={"ratio": 2, "rows": "all"}, teacher_temperature=0.1)])[0].inner.student_temperature,
        0.2,
    )
