"""What is trained to encode queries and documents apart: dual encoders and late-interaction models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..atomic import replacing_folder
from ..errors import InputError
from ..objectives.functional import maxsim
from ..objectives.scores import inner_scores
from ..recipe import Role, TeachSpec
from ..students.saving import save_model
from ..students.shrink import as_module, keep_layers
from ..teachers.base_encoder import load_base
from ..teachers.sentence_encoder import declared_prompt, load_sentence_encoder, modules_for
from ..training.passes import Parts
from .apart import ApartTokenizer


class DualEncoderModel(torch.nn.Module):
    """One vector a text; scores are inner products.

    What it saves is a plain sentence-transformers model with the same vectors.

    Args:
        modules: the sentence-transformers modules that a text passes through.
        pairs: reads texts for them.
        prompts: by role.
        normalize: whether vectors have unit length.
        scale: what scores are multiplied by before the softmax of training.
    """

    kind = "dual-encoder"

    def __init__(
        self,
        modules: Sequence[torch.nn.Module],
        pairs: ApartTokenizer,
        prompts: Mapping[str, str],
        *,
        normalize: bool,
        scale: float,
    ) -> None:
        from sentence_transformers import SentenceTransformer

        super().__init__()
        self.model: Any = SentenceTransformer(modules=list(modules), device="cpu").float()
        self.model[0].max_seq_length = pairs.max_length
        self.pairs, self.prompts, self.normalize, self.scale = pairs, dict(prompts), normalize, scale

    def encode(self, texts: Sequence[np.ndarray], role: Role) -> Parts:
        """Vectors `(n, d)` of texts as the tokenizer's `ids` gives them."""
        device = next(self.parameters()).device
        features: dict[str, Any] = self.pairs.features(texts, role, device)
        for module in self.model:
            features = module(features)
        return (features["sentence_embedding"].float(),)

    def scores(self, queries: Parts, documents: Parts) -> Tensor:
        """`(q, u)` float32."""
        return inner_scores(queries[0], documents[0])

    def save(self, folder: str | Path) -> None:
        """A sentence-transformers model, whole or not at all."""
        note = {"towers": "shared", "metric": "cosine" if self.normalize else "dot"}
        save_model(self.model, Path(folder), note, kind="model", prompts=self.prompts, normalize=self.normalize)


class LateInteractionModel(torch.nn.Module):
    """One vector a token; scores are MaxSim of unit vectors.

    Queries are filled up to their length with mask tokens, all of which count. There are no marker tokens: the fill is
    what tells a query from a document. What it saves is a MultiVectorEncoder of sentence-transformers, with the same
    scores.
    """

    kind = "late-interaction"

    def __init__(self, model: Any, pairs: ApartTokenizer, *, scale: float) -> None:
        super().__init__()
        self.model = model.float()
        self.pairs, self.scale = pairs, scale

    def encode(self, texts: Sequence[np.ndarray], role: Role) -> Parts:
        """Token vectors `(n, t, d)` and `(n, t)` bool, which of them count."""
        features: dict[str, Any] = self.pairs.features(texts, role, next(self.parameters()).device)
        out = self.model(features, task=role)
        return out["token_embeddings"].float(), out["attention_mask"].bool()

    def scores(self, queries: Parts, documents: Parts) -> Tensor:
        """`(q, u)` float32."""
        return maxsim(queries[0], documents[0], queries[1], documents[1])

    def save(self, folder: str | Path) -> None:
        """A multi-vector model, whole or not at all."""
        with replacing_folder(Path(folder)) as path:
            self.model.save(str(path), create_model_card=False, safe_serialization=True)
            (path / "README.md").write_text(_README, encoding="utf-8")


Retriever = DualEncoderModel | LateInteractionModel


def untrained_retriever(spec: TeachSpec) -> Retriever:
    """The model that a specification starts from.

    A dual encoder keeps what a sentence-transformers base has after its transformer, unless `pooling` says otherwise.

    Raises:
        InputError: the base will not do.
    """
    return _dual_encoder(spec) if spec.kind == "dual-encoder" else _late_interaction(spec)


def _dual_encoder(spec: TeachSpec) -> DualEncoderModel:
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    model, tokenizer, _ = load_base(spec.base, head="none", max_length=spec.max_length, revision=spec.revision)
    prompts, rest = {"query": "", "document": ""}, []
    if (Path(spec.base) / "modules.json").is_file():
        encoder = load_sentence_encoder(spec.base, revision=spec.revision, device="cpu")
        modules = modules_for(encoder, "query")
        if isinstance(modules[0], Transformer):
            prompts = {role: declared_prompt(encoder, role)[0] for role in ("query", "document")}
            rest = [module for module in modules[1:] if not isinstance(module, Normalize)]
    kept = model if spec.layers is None else keep_layers(model, spec.layers)
    if not rest or spec.pooling != "mean":
        rest = [Pooling(int(kept.config.hidden_size), "cls" if spec.pooling == "first" else "mean"), *rest[1:]]
    if spec.normalize:
        rest.append(Normalize())
    pairs = ApartTokenizer(tokenizer, {"query": spec.max_length, "document": spec.max_length}, prompts)
    scale = spec.scale or (20.0 if spec.normalize else 1.0)
    first = as_module(kept, tokenizer, spec.max_length)
    return DualEncoderModel([first, *rest], pairs, prompts, normalize=spec.normalize, scale=scale)


def _late_interaction(spec: TeachSpec) -> LateInteractionModel:
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    if not spec.normalize or spec.pooling != "mean":
        raise InputError(
            "late interaction compares unit vectors of tokens and pools none of them",
            where="normalize" if not spec.normalize else "pooling",
            fix="leave it out",
        )
    model, tokenizer, _ = load_base(spec.base, head="none", max_length=spec.max_length, revision=spec.revision)
    lengths: dict[Role, int] = {"query": spec.query_length, "document": spec.max_length}
    pairs = ApartTokenizer(tokenizer, lengths, {}, expand=True)
    kept = model if spec.layers is None else keep_layers(model, spec.layers)
    first = as_module(kept, tokenizer, spec.max_length)
    first.query_expansion = {"strategy": "fixed", "length": spec.query_length}
    first.document_length = spec.max_length
    modules: list[torch.nn.Module] = [first]
    if spec.width is not None:
        dense = Dense(
            int(kept.config.hidden_size),
            spec.width,
            bias=False,
            activation_function=torch.nn.Identity(),
            module_input_name="token_embeddings",
        )
        with torch.no_grad():
            generator = torch.Generator().manual_seed(spec.training.seed)
            torch.nn.init.orthogonal_(dense.linear.weight, generator=generator)
        modules.append(dense)
    modules += [MultiVectorMask(), Normalize(module_input_name="token_embeddings")]
    whole = MultiVectorEncoder(modules=modules, device="cpu", similarity_fn_name="maxsim")
    return LateInteractionModel(whole, pairs, scale=spec.scale or 1.0)


_README = """# Late-interaction model trained with Potstill

One vector a token; a score is the sum over the query's tokens of the largest inner product with a document's.

```python
from sentence_transformers import MultiVectorEncoder

model = MultiVectorEncoder("PATH")
scores = model.similarity(model.encode_query(["a query"]), model.encode_document(["a document"]))
```
"""
