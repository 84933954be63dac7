"""What every group of keys shares: unknown keys are errors, numbers are finite, later changes are checked too."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Role = Literal["query", "document"]
SignalRole = Literal["query", "document", "pair"]
"""What a stored signal is about: a text in its role, or a query with a document."""


class Strict(BaseModel):
    """Base of all groups of keys."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False)


class Prompts(Strict):
    """Text put before every query or document; None: what the model itself declares."""

    query: str | None = None
    document: str | None = None


class Lengths(Strict):
    """Maximum tokens of a query or document; None: what the model itself declares."""

    query: int | None = Field(default=None, ge=4)
    document: int | None = Field(default=None, ge=4)
