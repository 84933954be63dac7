"""Several teachers of vectors as one."""

import numpy as np
import pytest

from potstill.errors import InputError
from potstill.recipe import TeacherSpec, load_recipe
from potstill.teachers import open_teacher
from tiny import make_tiny_encoder

TEXTS = ["malt and water", "a cask of yeast", "the still"]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    return [
        str(make_tiny_encoder(folder / name, dim=dim, seed=seed)) for name, dim, seed in (("a", 32, 0), ("b", 16, 1))
    ]


def test_cosines_are_weighted_means(two):
    parts = [open_teacher(TeacherSpec(model=model)) for model in two]
    whole = open_teacher(TeacherSpec(concatenated=[{"model": model} for model in two], weights=[3.0, 1.0]))
    assert whole.dimensions == 48
    assert whole.metric == "cosine"
    vectors = whole.encode(TEXTS, "query")
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    cosines = []
    for part in parts:
        own = part.encode(TEXTS, "query")
        own /= np.linalg.norm(own, axis=1, keepdims=True)
        cosines.append(own @ own.T)
    np.testing.assert_allclose(vectors @ vectors.T, 0.75 * cosines[0] + 0.25 * cosines[1], atol=1e-5)


def test_identity_tells_order_and_weights(two):
    def digest(models, weights=()):
        spec = TeacherSpec(concatenated=[{"model": model} for model in models], weights=weights)
        return open_teacher(spec).fingerprint("query").digest()

    found = [digest(two), digest(two[::-1]), digest(two, [2.0, 1.0])]
    assert len(set(found)) == 3
    assert digest(two, [2.0, 2.0]) == found[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"concatenated": [{"model": "a"}, {"model": "b"}], "model": "c"}, "`model` belongs to one of them"),
        ({"model": "a", "weights": [1.0]}, "`weights` are of `concatenated`"),
    ],
)
def test_refused_by_the_recipe(given, said):
    with pytest.raises(InputError, match=said):
        load_recipe(None, flags={"collection": "c", "teacher": given})


def test_refused_when_opened(two):
    with pytest.raises(InputError, match="one teacher is not concatenated"):
        open_teacher(TeacherSpec(concatenated=[{"model": two[0]}]))
    with pytest.raises(InputError, match="1 weights for 2 teachers"):
        open_teacher(TeacherSpec(concatenated=[{"model": model} for model in two], weights=[1.0]))


def test_a_student_of_two_teachers_at_once(two, tmp_path):
    import potstill
    from tiny import make_tiny_collection

    collection = make_tiny_collection(tmp_path / "collection", documents=30, queries=20)
    settings = {"queries.cap": 60, "training.epochs": 1, "evaluate.cost": False, "student.vocabulary": "corpus"}
    run = potstill.distill(
        collection,
        {"concatenated": [{"model": model} for model in two]},
        "static",
        out=tmp_path / "run",
        settings=settings,
        signals=tmp_path / "signals",
    )
    student = run.load()
    assert student.encode_queries(["malt"]).shape == (1, 48)
    assert student.encode_documents(["malt"]).shape == (1, 48)  # by the two teachers, whom the note names
