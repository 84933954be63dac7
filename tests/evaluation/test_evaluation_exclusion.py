from __future__ import annotations

import pytest

from potstill.errors import InputError
from potstill.evaluation.exclusion import exclude_self


@pytest.fixture
def collection(tiny_collection, make_doc):
    docs = [
        make_doc("x", "nothing"),
        make_doc("1", "A title. Should we  BAN\tzoos? Because..."),
        make_doc("2", "something else altogether"),
        make_doc("3", "whatever"),
        make_doc("y", "the last"),
    ]
    queries = {"1": "should we ban zoos?", "2": "flow over a wing", "3": "  ", "9": "no document", "y2": "the last"}
    return tiny_collection(docs, queries)


def rows(found):
    return [row.tolist() for row in found.rows]


def test_auto_needs_the_querys_text_in_the_document(collection):
    found = exclude_self(collection, ["9", "2", "1", "3"], "auto")
    assert rows(found) == [[], [], [1], []]
    assert found.count == 1


def test_always_needs_the_id_alone(collection):
    found = exclude_self(collection, ["9", "2", "1", "3"], "always")
    assert rows(found) == [[], [2], [1], [3]]
    assert found.count == 3


def test_never(collection):
    found = exclude_self(collection, ["1", "2"], "never")
    assert rows(found) == [[], []]
    assert found.count == 0


def test_documents_are_streamed_only_where_needed_and_as_far_as_needed(collection):
    exclude_self(collection, ["9", "y2"], "auto")
    exclude_self(collection, ["1"], "always")
    exclude_self(collection, ["1"], "never")
    assert collection.streamed == 0
    exclude_self(collection, ["1", "2"], "auto")
    assert collection.streamed == 3


def test_unknown_mode(collection):
    with pytest.raises(InputError, match="auto, always or never"):
        exclude_self(collection, ["1"], "sometimes")
