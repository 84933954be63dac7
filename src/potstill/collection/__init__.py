"""Collections: documents, queries and judgments, checked before work starts."""

from .collection import Collection, open_collection
from .ids import Ids
from .notes import CollectionNotes, Finding
from .records import Document, Qrels

__all__ = ["Collection", "CollectionNotes", "Document", "Finding", "Ids", "Qrels", "open_collection"]
