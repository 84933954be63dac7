"""What clients send: the shapes of OpenAI's embeddings and of text-embeddings-inference."""

from __future__ import annotations

import base64
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from ..recipe import Role
from .limits import Refusal

Texts = str | list[str]


class EmbeddingsRequest(BaseModel):
    """`POST /v1/embeddings`: texts, not token ids; `input_type` chooses the tower (OpenAI has no such field)."""

    input: Texts = Field(description="A text, or several.")
    model: str = Field("", description="Not read: one service serves one student.")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, description="The student's own number; any other is refused.")
    input_type: Role = "query"
    user: str | None = None


class EmbedRequest(BaseModel):
    """`POST /embed`; `prompt_name` chooses the tower."""

    inputs: Texts
    normalize: bool | None = Field(
        None, description="Scale vectors to unit length; left out: as the student gives them."
    )
    truncate: bool = Field(True, description="False: a text that would be cut is an error.")
    prompt_name: Role = "query"


class RerankRequest(BaseModel):
    """`POST /rerank`."""

    query: str
    texts: list[str]
    raw_scores: bool = Field(False, description="A ranker's scores as they are, not through a sigmoid.")
    return_text: bool = False
    truncate: bool = Field(True, description="False: a text that would be cut is an error.")


Request = TypeVar("Request", bound=BaseModel)


def read(model: type[Request], body: bytes, status: int) -> Request:
    """A request's body as `model`.

    Raises:
        Refusal: it is not JSON, or not of that shape; with `status`, naming the field.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        told = []
        for one in error.errors(include_url=False, include_context=False, include_input=False):
            where = ".".join(str(part) for part in one["loc"] if not str(part).startswith(("list[", "str")))
            said = f"{where}: {one['msg']}" if where else str(one["msg"])
            if where.startswith("input.") and one["type"] == "string_type":
                said = f"{where}: a text is wanted (token ids are not read: send the text)"
            told.append(said)
        raise Refusal(status, "; ".join(list(dict.fromkeys(told))[:3])) from None


def schema(model: type[BaseModel]) -> dict[str, Any]:
    """What FastAPI is told of a body that it does not read itself."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}}


def as_list(texts: Texts, most: int, status: int) -> list[str]:
    """One text or several as a list.

    Raises:
        Refusal: none, or more than `most`.
    """
    found = [texts] if isinstance(texts, str) else texts
    if not found:
        raise Refusal(status, "there is no text")
    if len(found) > most:
        raise Refusal(413, f"{len(found):,} texts, and at most {most:,} are read in one request")
    return found


def in_base64(vector: np.ndarray) -> str:
    """Float32, little-endian, as OpenAI's clients read it."""
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode("ascii")
