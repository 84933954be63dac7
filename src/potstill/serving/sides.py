"""What the page that compares shows: a teacher, its students, their documents, judgments and examples."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ..errors import PotstillError
from ..evaluation import exact_search

TOP = 10
Encode = Callable[[list[str]], np.ndarray]


@dataclass(frozen=True)
class Point:
    """A system's figures from its evaluation; None where it was not measured.

    Attributes:
        value: the measure's mean.
        low: lower end of its 95 % interval.
        high: upper end.
        ms: median milliseconds from a query's text to its vector.
        bytes: size of its weights.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    ms: float | None = None
    bytes: float | None = None


@dataclass(frozen=True)
class StudentSide:
    """One student: its name, kind, query encoder, the documents it searches `(n, d)`, its figures and examples.

    `wins` and `losses` are `{"id", "text", "teacher", "student"}`, the largest first.
    """

    name: str
    kind: str
    encode: Encode
    documents: np.ndarray
    point: Point = Point()
    wins: Sequence[Mapping[str, Any]] = ()
    losses: Sequence[Mapping[str, Any]] = ()


@dataclass
class TeacherSide:
    """The teacher: its name, how to open its query encoder, the documents `(n, d)` and its figures.

    Opening it takes seconds and needs torch; the page is there meanwhile, and stays where it fails.
    """

    name: str
    open: Callable[[], Encode]
    documents: np.ndarray
    point: Point = Point()
    state: Literal["loading", "ready", "failed"] = "loading"
    problem: str = ""
    encode: Encode | None = None

    def start(self) -> None:
        """Open it, in a thread of its own."""
        threading.Thread(target=self._load, daemon=True).start()

    def _load(self) -> None:
        try:
            self.encode = self.open()
            self.encode(["a first query warms it up"])
            self.state = "ready"
        except PotstillError as error:
            self.problem, self.state = error.message, "failed"
        except Exception as error:
            self.problem, self.state = f"it cannot be opened here: {error}", "failed"


@dataclass
class Sides:
    """All that the page shows.

    Attributes:
        collection: its name.
        measure: the measure of the points and examples.
        metric: `dot` or `cosine`.
        ids: document ids, in the order of the vectors.
        titles: of each document.
        snippets: the beginning of each document's text.
        teacher: the reference.
        students: at least one.
        judged: query text to document id to grade.
    """

    collection: str
    measure: str
    metric: Literal["dot", "cosine"]
    ids: Sequence[str]
    titles: Sequence[str]
    snippets: Sequence[str]
    teacher: TeacherSide
    students: Sequence[StudentSide]
    judged: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def about(self) -> dict[str, Any]:
        """What the page shows before any search."""
        teacher = self.teacher
        return {
            "collection": self.collection,
            "documents": len(self.ids),
            "measure": self.measure,
            "teacher": {
                "name": teacher.name,
                "state": teacher.state,
                "problem": teacher.problem,
                **vars(teacher.point),
            },
            "students": [
                {"name": one.name, "kind": one.kind, "wins": one.wins, "losses": one.losses, **vars(one.point)}
                for one in self.students
            ],
        }

    def search(self, query: str, student: int) -> dict[str, Any]:
        """Both sides' top ten for a query, with the time that each took; grades where the query was judged."""
        grades = self.judged.get(query.strip())
        pupil, teacher = self.students[student], self.teacher
        told: dict[str, Any] = {"judged": grades is not None, "student": None, "teacher": None}
        told["student"] = self._side(pupil.encode, pupil.documents, query, grades)
        if teacher.encode is not None and teacher.state == "ready":
            told["teacher"] = self._side(teacher.encode, teacher.documents, query, grades)
        if grades is not None:
            told["relevant"] = sum(grade > 0 for grade in grades.values())
        return told

    def _side(
        self, encode: Encode, documents: np.ndarray, query: str, grades: Mapping[str, int] | None
    ) -> dict[str, Any]:
        began = time.perf_counter()
        vector = encode([query])
        encoded = time.perf_counter()
        found = exact_search(vector, documents, min(TOP, len(documents)), metric=self.metric)
        done = time.perf_counter()
        results = []
        for row, score in zip(found.rows[0].tolist(), found.scores[0].tolist(), strict=True):
            if row >= 0:
                one = {"id": self.ids[row], "title": self.titles[row], "text": self.snippets[row], "score": score}
                one["grade"] = None if grades is None else grades.get(self.ids[row])
                results.append(one)
        return {"encode_ms": (encoded - began) * 1e3, "search_ms": (done - encoded) * 1e3, "results": results}
