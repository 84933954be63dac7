"""Whatever differs in a fingerprint, no vector of the one is ever given for the other."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signals_fakes import MARK, FakeSource, numbered

from potstill.errors import PotstillError
from potstill.signals import Fingerprint, SignalStore, fill
from potstill.signals.store import table_name

texts = st.text(max_size=6)
fingerprints = st.builds(
    Fingerprint,
    kind=texts,
    model=texts,
    revision=st.none() | texts,
    role=st.sampled_from(["query", "document", "any"]),
    prompt=texts,
    pooling=st.none() | st.sampled_from(["mean", "cls", ""]),
    max_length=st.none() | st.integers(0, 3),
    normalize=st.none() | st.booleans(),
    dtype=st.sampled_from(["float32", "float16", "bfloat16"]),
    dimensions=st.integers(1, 3),
    extra=st.lists(st.tuples(texts, texts), max_size=2).map(tuple),
)
OTHER = {
    "kind": "http",
    "model": "lab/other",
    "revision": None,
    "role": "query",
    "prompt": "query: ",
    "pooling": "cls",
    "max_length": 128,
    "normalize": False,
    "dtype": "bfloat16",
    "dimensions": 16,
    "extra": (("query_model", "x"),),
}


@given(fingerprints, fingerprints)
def test_digests_are_equal_exactly_when_all_fields_are(one, other):
    assert (one.digest() == other.digest()) == (one == other)
    assert (table_name(one, "float16") == table_name(other, "float16")) == (one == other)


@given(fingerprints, st.sampled_from([field.name for field in fields(Fingerprint)]), st.data())
def test_a_change_of_any_field_changes_the_digest(mark, field, data):
    donor = data.draw(fingerprints.filter(lambda other: getattr(other, field) != getattr(mark, field)))
    assert replace(mark, **{field: getattr(donor, field)}).digest() != mark.digest()


@given(fingerprints)
def test_it_survives_json(mark):
    assert Fingerprint.from_dict(json.loads(json.dumps(mark.as_dict()))) == mark


def test_every_field_is_in_the_table_of_changes():
    assert set(OTHER) == {field.name for field in fields(Fingerprint)}


@pytest.mark.parametrize("field", OTHER)
def test_old_rows_are_never_hit(store, field):
    texts = numbered(5)
    fill(store.vectors(MARK), FakeSource(), texts, "query")
    changed = replace(MARK, **{field: OTHER[field]})
    table = store.vectors(changed)
    assert table.missing(texts) == texts
    source = FakeSource(changed)
    fill(table, source, texts, "query")
    assert sorted(source.encoded) == texts
    assert store.vectors(MARK).missing(texts) == []


def test_the_precision_of_the_store_has_its_own_tables(store):
    fill(store.vectors(MARK), FakeSource(), ["a"], "query")
    assert SignalStore(store.root, "float32").vectors(MARK).missing(["a"]) == ["a"]


def test_the_order_of_extras_means_nothing():
    one, other = (("a", "1"), ("b", "2")), (("b", "2"), ("a", "1"))
    assert replace(MARK, extra=one).digest() == replace(MARK, extra=other).digest()


@given(fingerprints)
@settings(max_examples=30)
def test_any_model_name_makes_a_folder_name(mark):
    name = table_name(replace(mark, model=mark.model + "/../a b\n:c"), "float16")
    assert "/" not in name
    assert name == name.strip(". ")
    assert len(name) < 120


def test_a_source_of_another_fingerprint_is_refused(store):
    with pytest.raises(PotstillError, match="another source") as caught:
        fill(store.vectors(MARK), FakeSource(replace(MARK, prompt="query: ")), ["a"], "query")
    assert caught.value.exit_code == 2
    assert "query: " in str(caught.value)
    assert not store.root.exists()
