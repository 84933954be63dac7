"""What was counted while a collection was checked, and what was odd."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "empty_documents",
    "shared_texts",
    "replacement_characters",
    "empty_queries",
    "unjudged_queries",
    "missing_documents",
    "unknown_queries",
    "repeated_judgments",
    "no_relevant_document",
    "unread_files",
]

_WORDS: dict[Kind, str] = {
    "empty_documents": "documents without title and text (kept)",
    "shared_texts": "documents whose title and text an earlier document has too (kept)",
    "replacement_characters": "documents with U+FFFD, the mark of characters lost in a conversion (kept)",
    "empty_queries": "queries without text (kept)",
    "unjudged_queries": "queries without a judgment in any split (kept as unlabelled)",
    "missing_documents": "judgments of documents that the corpus lacks (dropped)",
    "unknown_queries": "judgments of queries that the queries lack (dropped)",
    "repeated_judgments": "judgments given twice with the same grade (one kept)",
    "no_relevant_document": "judged queries without a relevant document (measures of them are 0)",
    "unread_files": "files beside the judgments that are none (not read)",
}

EXAMPLES = 5
"""How many examples of each kind are kept."""


@dataclass
class Finding:
    """How often one odd thing was seen, with the first few examples; `split` where it belongs to judgments."""

    kind: Kind
    split: str | None
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def line(self) -> str:
        """One line for people."""
        split = f"{self.split}: " if self.split else ""
        more = ", ..." if self.count > len(self.examples) else ""
        return f"{split}{_WORDS[self.kind]}: {self.count:,} ({', '.join(self.examples)}{more})"


@dataclass
class CollectionNotes:
    """Counts of a checked collection. `judgments` is split -> rows kept; characters are those of `Document.full`."""

    documents: int = 0
    characters: int = 0
    queries: int = 0
    judgments: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def add(self, kind: Kind, example: str, *, split: str | None = None, count: int = 1) -> None:
        """Count one more of a kind; the first five examples are kept."""
        finding = self._find(kind, split)
        if finding is None:
            finding = Finding(kind, split)
            self.findings.append(finding)
        finding.count += count
        if len(finding.examples) < EXAMPLES:
            finding.examples.append(example)

    def count(self, kind: Kind, split: str | None = None) -> int:
        """How many of a kind there are; for kinds that belong to judgments, of one split or (None) of all."""
        return sum(f.count for f in self.findings if f.kind == kind and split in (None, f.split))

    def lines(self) -> list[str]:
        """What to tell people: the size first, then each finding."""
        head = f"{_many(self.documents, 'document', 'documents')}, {_many(self.queries, 'query', 'queries')}"
        judged = ", ".join(f"{split} {rows:,}" for split, rows in self.judgments.items())
        return [f"{head}, judgments: {judged or 'none'}", *(finding.line() for finding in self.findings)]

    def as_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        findings = [
            {"kind": f.kind, "split": f.split, "count": f.count, "examples": list(f.examples)} for f in self.findings
        ]
        return {
            "documents": self.documents,
            "characters": self.characters,
            "queries": self.queries,
            "judgments": dict(self.judgments),
            "findings": findings,
        }

    def _find(self, kind: Kind, split: str | None) -> Finding | None:
        return next((f for f in self.findings if f.kind == kind and f.split == split), None)


def _many(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"
