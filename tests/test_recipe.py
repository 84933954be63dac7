"""Recipes: short forms, layers of settings, and errors that name the line or the option."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from potstill.errors import InputError
from potstill.recipe import (
    Recipe,
    StudentSpec,
    TeacherSpec,
    TeachGeneratorSpec,
    TeachSpec,
    load_recipe,
    load_spec,
)

BASE = ["collection=c", "teacher=t"]


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(*arguments: str, path: Path | None = None, **flags: Any) -> str:
    with pytest.raises(InputError) as caught:
        load_recipe(path, flags=flags, settings=arguments)
    assert caught.value.fix
    assert caught.value.where
    return str(caught.value)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("static", {"kind": "static"}),
        ("static:128", {"kind": "static", "rank": 128}),
        ("layers", {"kind": "layers"}),
        ("layers:0,5", {"kind": "layers", "layers": (0, 5)}),
        ("tiny", {"kind": "tiny"}),
        ("tiny:2x128", {"kind": "tiny", "depth": 2, "width": 128}),
        ("intfloat/e5-small", {"kind": "model", "model": "intfloat/e5-small"}),
        ("./folder", {"kind": "model", "model": "./folder"}),
    ],
)
def test_short_forms_of_students(short: str, long: dict[str, Any]):
    assert load_recipe(None, flags={"student": short}, settings=BASE).student == StudentSpec(**long)
    assert load_recipe(None, flags={"student": long}, settings=BASE).student == StudentSpec(**long)


def test_short_forms_of_teachers_and_objectives():
    recipe = load_recipe(
        None,
        flags={"collection": "c", "teacher": "all-MiniLM-L6-v2"},
        settings=["objectives=[match, match:cosine, scores:kl]"],
    )
    assert recipe.teacher == TeacherSpec(model="all-MiniLM-L6-v2")
    assert [(o.family, o.form) for o in recipe.objectives] == [("match", "l2"), ("match", "cosine"), ("scores", "kl")]


FULL = """\
collection: examples/scifact
teacher:
  query_model: a
  document_model: b
  prompts: {query: "query: ", document: "文書："}
  max_length: {document: 256}
  index: /data/index.npy
student: {kind: tiny, depth: 3, width: 64, vocabulary: trimmed}
towers: separate
queries: {cap: 100, files: [logs.txt, more.txt], titles: 0, held_out: 20}
objectives:
  - match:l2
  - {family: scores, documents: mined, count: 16, weight: 0.25}
training: {learning_rate: 1e-3, epochs: 2, bf16: false, checkpoint_seconds: 5}
evaluate: {split: dev, measures: [nDCG@10], prefixes: [32, 64]}
output: {packed: true}
"""


def test_a_resolved_recipe_is_read_back_as_itself(tmp_path: Path):
    recipe = load_recipe(write(tmp_path, FULL))
    assert recipe.training.learning_rate == 1e-3  # without a dot it is a string to YAML
    again = load_recipe(write(tmp_path, recipe.to_yaml()))
    assert again == recipe
    assert again.to_yaml() == recipe.to_yaml()
    assert set(yaml.safe_load(recipe.to_yaml())) == set(Recipe.model_fields), "all defaults are written out"


def test_settings_go_over_flags_and_flags_over_the_file(tmp_path: Path):
    path = write(tmp_path, "collection: file\nteacher: file\ntowers: shared\ntraining: {epochs: 1, seed: 7}\n")
    recipe = load_recipe(
        path, flags={"teacher": "flag", "towers": None}, settings=["training.epochs=3", "teacher.revision=r"]
    )
    assert recipe.collection == "file"
    assert recipe.teacher == TeacherSpec(model="flag", revision="r")
    assert recipe.towers == "shared"
    assert (recipe.training.epochs, recipe.training.seed) == (3, 7)
    assert load_recipe(path, settings=["student=static", "student.rank=8"]).student.rank == 8
    assert load_recipe(path, settings=["training.epochs=1", "training.epochs=9"]).training.epochs == 9


def test_an_empty_file_with_flags_is_a_recipe(tmp_path: Path):
    assert (
        load_recipe(write(tmp_path, "# nothing yet\n"), flags={"collection": "c", "teacher": "t"}).towers
        == "asymmetric"
    )


@pytest.mark.parametrize(
    ("line", "text", "words"),
    [
        (3, "collection: c\nteacher: t\ntower: shared\n", "did you mean `towers`?"),
        (
            4,
            "collection: c\nteacher: t\ntraining:\n  epoch: 1\n",
            "`training.epoch` is not a key; did you mean `epochs`?",
        ),
        (5, "collection: c\nteacher:\n  model: t\n  prompts:\n    qury: x\n", "did you mean `query`?"),
        (
            5,
            "collection: c\nteacher: t\nobjectives:\n- match:l2\n- {family: match, wieght: 2}\n",
            "did you mean `weight`?",
        ),
        (4, "collection: c\nteacher: t\nobjectives:\n  - match:huber\n", "l2, squared, cosine"),
        (4, "collection: c\nteacher: t\ntraining:\n  seed: -1\n", "greater than or equal to 0 (got -1)"),
        (3, "collection: c\nteacher: t\nstudent: tiny:a\n", "static:128"),
        (4, "collection: c\nteacher: t\nqueries:\n  titles: .inf\n", "finite"),
        (3, "collection: c\nteacher: t\ncollection: d\n", "`collection` is given twice"),
        (4, "collection: c\nteacher: t\ntraining:\n  bf16: perhaps\n", "'auto', True or False"),
        (3, "collection: c\nteacher: t\nevaluate: {measures: nDCG@10}\n", "should be a list"),
        (2, "collection: c\nteacher: [t\n", "cannot read the YAML"),
        (2, "collection: c\n\tteacher: t\n", "cannot read the YAML"),
        (1, "just words\n", "a mapping of keys"),
        (2, "collection: c\nteacher: {model: a, url: b, query_model: c, document_model: d}\n", "`model` or the pair"),
        (2, "collection: c\nteacher: {query_model: a}\n", "go together"),
        (2, "collection: c\nteacher: {}\n", "a teacher needs"),
        (3, "collection: c\nteacher: t\nstudent: {kind: model}\n", "an id or a folder"),
    ],
)
def test_errors_name_the_line(line: int, text: str, words: str, tmp_path: Path):
    message = refused(path=write(tmp_path, text))
    assert message.startswith(f"{tmp_path / 'recipe.yaml'}:{line}: ")
    assert words in message


def test_errors_name_the_option():
    assert refused(*BASE, "training.epochs=0").startswith("--set training.epochs=0: ")
    assert refused(*BASE, "teacher.promts.query=x").startswith("--set teacher.promts.query=x: `teacher.promts`")
    assert refused(*BASE, student="tiny:big").startswith("--student: ")
    assert refused(*BASE, "student.rank=4", student="tiny:big").startswith("--student: ")
    assert refused(*BASE, towers="none").startswith("--towers: ")
    assert refused(*BASE, "epochs").startswith("--set epochs: a setting is path=value")
    assert refused(*BASE, "training.epochs.more=1").startswith("--set training.epochs.more=1")
    assert "--collection" in refused()
    assert "--teacher" in refused()


def test_all_problems_are_told_at_once_each_with_its_place(tmp_path: Path):
    path = write(tmp_path, "collection: c\nteacher: t\ntowers: leaning\nqueries:\n  cap: none\n")
    message = refused("training.epochs=0", path=path)
    assert message.startswith(f"{path}:3: `towers`")
    assert f"[{path}:5]" in message
    assert "[--set training.epochs=0]" in message


def test_long_values_are_not_shown_whole():
    assert len(refused(*BASE, f"training.epochs={'x' * 10_000}", towers="y" * 10_000).replace("x" * 10_000, "")) < 1_000


def test_not_utf8_and_not_there(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    assert "no such recipe file" in refused(path=path)
    path.write_bytes(b"collection: caf\xe9\n")
    assert "UTF-8" in refused(path=path)
    assert "cannot read" in refused(path=tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "collection: &a [*a]\n",
        "a: &a {b: *a}\n",
        "collection: 2001-99-99\n",
        "collection: !!int x\n",
        "collection: !!timestamp x\n",
        "collection: !!bool x\n",
        "collection: !!python/object:os.system {}\n",
        "? [a]\n: b\n",
        "? {a: b}\n: b\n",
        "1: 2\n",
        "~: 2\n",
        "collection: " + "[" * 3000,
        "a: 1\n---\nb: 2\n",
        "<<: {collection: c}\nteacher: t\nnone: 1\n",
        "collection: \x00\n",
        "teacher: !!set {a, b}\n",
        "teacher: !!binary aGVsbG8=\n",
    ],
)
def test_strange_yaml_is_refused_and_never_a_crash(text: str, tmp_path: Path):
    assert "What to do" in refused(path=write(tmp_path, text))


def test_aliases_do_not_take_forever(tmp_path: Path):
    rows = ["a0: &a0 [x, x, x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert "`a0` is not a key" in refused(path=write(tmp_path, "\n".join(rows) + "\n"))


KEYS = [
    *Recipe.model_fields,
    *TeacherSpec.model_fields,
    *StudentSpec.model_fields,
    "epochs",
    "cap",
    "family",
    "measures",
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 10**20)
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["static", "tiny:2x128", "layers:", "match:l2", "scores:kl", "t", "shared", "test"])
)
NAMES = st.sampled_from(KEYS) | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.dictionaries(st.sampled_from(KEYS) | NAMES, VALUES, max_size=6))
def test_any_data_is_a_recipe_or_an_input_error(data: dict[str, Any], tmp_path: Path):
    path = write(tmp_path, yaml.safe_dump({"collection": "c", "teacher": "t"} | data, allow_unicode=True))
    recipe, error = outcome(path)
    if error is not None:
        assert error.fix
        assert str(path) in str(error)
    else:
        assert recipe is not None
        assert load_recipe(write(tmp_path, recipe.to_yaml())) == recipe


def outcome(*arguments: Any, **named: Any) -> tuple[Recipe | None, InputError | None]:
    try:
        return load_recipe(*arguments, **named), None
    except InputError as error:
        return None, error


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>%@`'\"#,?\n\t 0.~<"), max_size=40))
def test_any_text_is_a_recipe_or_an_input_error(text: str, tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError):
        load_recipe(path)


@settings(max_examples=250, deadline=None)
@given(
    places=st.lists(st.lists(NAMES, min_size=1, max_size=3), max_size=4),
    values=st.lists(VALUES.map(lambda value: json.dumps(value)) | st.text(max_size=8), min_size=4, max_size=4),
    flags=st.fixed_dictionaries({}, optional={"student": VALUES, "teacher": VALUES, "towers": SCALARS}),
)
def test_any_settings_are_a_recipe_or_an_input_error(places: list[list[str]], values: list[str], flags: dict[str, Any]):
    given_settings = [f"{'.'.join(place)}={value}" for place, value in zip(places, values, strict=False)]
    _, error = outcome(None, flags={"collection": "c", "teacher": "t"} | flags, settings=given_settings)
    assert error is None or error.fix


@pytest.mark.parametrize(("given", "meant"), [("stati", "static"), ("layer:0", "layers"), ("tinny:2x64", "tiny")])
def test_a_misspelt_kind_of_student_is_not_taken_for_a_model(given: str, meant: str):
    with pytest.raises(InputError, match=f"did you mean `{meant}`"):
        load_recipe(None, flags={"collection": "c", "teacher": "t", "student": given})


@pytest.mark.parametrize(
    ("model", "page"), [(Recipe, "recipes.md"), (TeachSpec, "teaching.md"), (TeachGeneratorSpec, "teaching.md")]
)
@pytest.mark.parametrize(("setting", "said"), [("collection.name=a", "not a group"), ("trainin.seed=1", "trainin")])
def test_errors_point_to_the_page_of_their_keys(model: type[Any], page: str, setting: str, said: str):
    with pytest.raises(InputError, match=said) as told:
        load_spec(model, None, flags={"collection": "a", "base": "b"}, settings=[setting])
    assert f"docs/{page}" in str(told.value.fix)
