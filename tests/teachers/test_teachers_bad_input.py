"""Broken teachers: each ends in an InputError (exit code 2) that names the place and the remedy."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from potstill.errors import InputError
from potstill.recipe import TeacherSpec
from potstill.teachers import open_teacher
from tiny import make_tiny_encoder

Make = Callable[[Path, Path], dict[str, Any]]


def _copy(encoder: Path, folder: Path) -> Path:
    return Path(shutil.copytree(encoder, folder / "model"))


def no_weights(encoder: Path, folder: Path) -> dict[str, Any]:
    (_copy(encoder, folder) / "model.safetensors").unlink()
    return {"model": str(folder / "model")}


def cut_weights(encoder: Path, folder: Path) -> dict[str, Any]:
    file = _copy(encoder, folder) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    return {"model": str(folder / "model")}


def nan_weights(encoder: Path, folder: Path) -> dict[str, Any]:
    file = _copy(encoder, folder) / "model.safetensors"
    tensors = load_file(file)
    tensors["embeddings.word_embeddings.weight"][:] = np.nan
    save_file(tensors, file, metadata={"format": "pt"})
    return {"model": str(folder / "model")}


def other_shape(encoder: Path, folder: Path) -> dict[str, Any]:
    file = _copy(encoder, folder) / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "hidden_size": 48}))
    return {"model": str(folder / "model")}


def broken_config(encoder: Path, folder: Path) -> dict[str, Any]:
    (_copy(encoder, folder) / "config.json").write_text('{"model_type": "bert",')
    return {"model": str(folder / "model")}


def no_tokenizer(encoder: Path, folder: Path) -> dict[str, Any]:
    model = _copy(encoder, folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).unlink()
    return {"model": str(model)}


def renamed_weights(encoder: Path, folder: Path) -> dict[str, Any]:
    file = _copy(encoder, folder) / "model.safetensors"
    tensors = {name.replace("attention", "attn"): tensor for name, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})
    return {"model": str(folder / "model")}


def own_code(encoder: Path, folder: Path) -> dict[str, Any]:
    file = _copy(encoder, folder) / "config.json"
    config = json.loads(file.read_text())
    (folder / "model" / "own.py").write_text("raise SystemExit('remote code ran')")
    auto = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    file.write_text(json.dumps({**config, "model_type": "own", "auto_map": auto}))
    return {"model": str(folder / "model")}


def empty_folder(encoder: Path, folder: Path) -> dict[str, Any]:
    return {"model": str(folder)}


def a_file(encoder: Path, folder: Path) -> dict[str, Any]:
    return {"model": str(encoder / "model.safetensors")}


def unequal_towers(encoder: Path, folder: Path) -> dict[str, Any]:
    wide = make_tiny_encoder(folder / "wide", dim=48)
    return {"query_model": str(encoder), "document_model": str(wide)}


def euclidean(encoder: Path, folder: Path) -> dict[str, Any]:
    file = _copy(encoder, folder) / "config_sentence_transformers.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "similarity_fn_name": "euclidean"}))
    return {"model": str(folder / "model")}


def one_route(encoder: Path, folder: Path) -> dict[str, Any]:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Router

    modules = list(SentenceTransformer(str(encoder), device="cpu").children())
    router = Router({"query": modules, "image": modules}, default_route="query")
    SentenceTransformer(modules=[router], device="cpu").save_pretrained(str(folder / "r"), create_model_card=False)
    return {"model": str(folder / "r")}


def too_long(encoder: Path, folder: Path) -> dict[str, Any]:
    return {"model": str(encoder), "max_length": {"query": 65}}


def no_device(encoder: Path, folder: Path) -> dict[str, Any]:
    return {"model": str(encoder), "device": "cuda:99"}


def odd_device(encoder: Path, folder: Path) -> dict[str, Any]:
    return {"model": str(encoder), "device": "toaster"}


def folder_revision(encoder: Path, folder: Path) -> dict[str, Any]:
    return {"model": str(encoder), "revision": "main"}


def static_pooling(encoder: Path, folder: Path) -> dict[str, Any]:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    from tiny import make_tiny_tokenizer

    static = StaticEmbedding(make_tiny_tokenizer().backend_tokenizer, embedding_dim=16)
    SentenceTransformer(modules=[static], device="cpu").save_pretrained(str(folder / "s"), create_model_card=False)
    return {"model": str(folder / "s"), "pooling": "cls"}


def static_length(encoder: Path, folder: Path) -> dict[str, Any]:
    return {"model": static_pooling(encoder, folder)["model"], "max_length": {"document": 64}}


def _vectors(folder: Path, vectors: Any = None, ids: str | None = "a\nb\nc\n") -> dict[str, Any]:
    np.save(folder / "v.npy", np.eye(3, 32, dtype=np.float32) if vectors is None else vectors)
    if ids is not None:
        (folder / "v.ids.txt").write_text(ids)
    return {"index": folder / "v.npy"}


def index_of_another_width(encoder: Path, folder: Path) -> dict[str, Any]:
    return {**_vectors(folder, np.eye(3, 8, dtype=np.float32)), "model": str(encoder)}


def pickled_index(encoder: Path, folder: Path) -> dict[str, Any]:
    return _vectors(folder, np.array([{"a": 1}, {"b": 2}, {}], dtype=object))


def flat_index(encoder: Path, folder: Path) -> dict[str, Any]:
    return _vectors(folder, np.zeros(3, dtype=np.float32))


def integer_index(encoder: Path, folder: Path) -> dict[str, Any]:
    return _vectors(folder, np.zeros((3, 4), dtype=np.int8))


def nan_index(encoder: Path, folder: Path) -> dict[str, Any]:
    return _vectors(folder, np.array([[1, 0], [0, np.nan], [1, 0]], dtype=np.float32))


def cut_index(encoder: Path, folder: Path) -> dict[str, Any]:
    spec = _vectors(folder)
    spec["index"].write_bytes(spec["index"].read_bytes()[:-9])
    return spec


def empty_index(encoder: Path, folder: Path) -> dict[str, Any]:
    spec = _vectors(folder)
    spec["index"].write_bytes(b"")
    return spec


def cut_safetensors(encoder: Path, folder: Path) -> dict[str, Any]:
    save_file({"vectors": np.eye(3, 4, dtype=np.float32)}, folder / "v.safetensors")
    whole = (folder / "v.safetensors").read_bytes()
    (folder / "v.safetensors").write_bytes(whole[:-4])
    (folder / "ids.txt").write_text("a\nb\nc\n")
    return {"index": folder / "v.safetensors"}


def two_tensors(encoder: Path, folder: Path) -> dict[str, Any]:
    save_file({"a": np.eye(3, dtype=np.float32), "b": np.eye(3, dtype=np.float32)}, folder / "v.safetensors")
    return {"index": folder / "v.safetensors"}


def _parquet(folder: Path, **columns: Any) -> dict[str, Any]:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    parquet.write_table(arrow.table(columns), folder / "v.parquet")
    return {"index": folder / "v.parquet"}


def other_columns(encoder: Path, folder: Path) -> dict[str, Any]:
    return _parquet(folder, docid=["a"], embedding=[[1.0, 2.0]])


def ragged_parquet(encoder: Path, folder: Path) -> dict[str, Any]:
    return _parquet(folder, id=["a", "b"], vector=[[1.0, 2.0], [1.0]])


def null_parquet(encoder: Path, folder: Path) -> dict[str, Any]:
    return _parquet(folder, id=["a", "b"], vector=[[1.0, 2.0], None])


def null_number(encoder: Path, folder: Path) -> dict[str, Any]:
    return _parquet(folder, id=["a", "b"], vector=[[1.0, 2.0], [1.0, None]])


def text_parquet(encoder: Path, folder: Path) -> dict[str, Any]:
    return _parquet(folder, id=["a"], vector=["1 2"])


def no_parquet(encoder: Path, folder: Path) -> dict[str, Any]:
    (folder / "v.parquet").write_bytes(b"PAR1 no")
    return {"index": folder / "v.parquet"}


def json_ids(text: str) -> Make:
    def make(encoder: Path, folder: Path) -> dict[str, Any]:
        (folder / "v.ids.json").write_text(text)
        return _vectors(folder, ids=None)

    return make


def latin_ids(encoder: Path, folder: Path) -> dict[str, Any]:
    (folder / "v.ids.txt").write_bytes("é\nb\nc\n".encode("latin-1"))
    return _vectors(folder, ids=None)


def ids(text: str | None) -> Make:
    return lambda encoder, folder: _vectors(folder, ids=text)


def fixed(**spec: Any) -> Make:
    return lambda encoder, folder: spec


def nobody_there(encoder: Path, folder: Path) -> dict[str, Any]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return {"url": f"http://127.0.0.1:{held.getsockname()[1]}", "retries": 0}


CASES: list[tuple[Make, str, str]] = [
    (fixed(model="nobody/no-such-model"), "nobody/no-such-model", "HF_HUB_OFFLINE"),
    (fixed(model="no-such-model"), "no-such-model", "give a folder"),
    (fixed(model="/no/such/folder"), "/no/such/folder: no such model folder", "check the path"),
    (fixed(model="./no-such-folder"), "no such model folder", "check the path"),
    (empty_folder, "holds no model", "save_pretrained"),
    (a_file, "a file is not a model", "folder"),
    (no_weights, "model: cannot load", "save the model again"),
    (cut_weights, "model: cannot load", "save the model again"),
    (renamed_weights, "would be random", "save the model again"),
    (no_tokenizer, "the same vector to 'water'", "tokenizer.json"),
    (nan_weights, "gives NaN", "check its weights"),
    (other_shape, "model: cannot load", "save the model again"),
    (broken_config, "model: cannot load", "save the model again"),
    (own_code, "its own Python code", "trust_remote_code: true"),
    (unequal_towers, "queries have 32 dimensions, documents 48", "trained together"),
    (euclidean, "euclidean", "teacher.metric"),
    (one_route, "no route for document", "two models"),
    (too_long, "65, but the model has positions for 64 tokens", "at most 64"),
    (static_length, "never cuts texts", "leave it out"),
    (static_pooling, "no pooling to replace", "leave out `teacher.pooling`"),
    (no_device, "no device cuda:99", "cpu"),
    (odd_device, "'toaster' is not a device", "cpu"),
    (folder_revision, "a folder has no revisions", "leave out `revision`"),
    (index_of_another_width, "differ in width", "vectors that this model made"),
    (pickled_index, "pickled", "np.save"),
    (flat_index, "shape (3,)", "two-dimensional"),
    (integer_index, "int8", "float"),
    (nan_index, "row 1 (id 'b')", "encode that document again"),
    (cut_index, "v.npy: cannot read", "save it again"),
    (empty_index, "v.npy: cannot read", "save it again"),
    (cut_safetensors, "cut short", "save it again"),
    (two_tensors, "2 tensors (a, b)", "call the tensor `vectors`"),
    (other_columns, "docid, embedding", "rename the columns"),
    (ragged_parquet, "row 1 has another width", "whole vector"),
    (null_parquet, "row 1 has another width", "whole vector"),
    (null_number, "null", "whole vector"),
    (text_parquet, "`vector` is of type string", "list of float"),
    (no_parquet, "cannot read the Parquet", "write it again"),
    (ids(None), "have no ids", "v.npy.ids.txt"),
    (ids("a\nb\n"), "2 ids for 3 vectors", "one id for each row"),
    (ids("a\nb\na\n"), "id 'a' is given twice, in rows 0 and 2", "one vector for each id"),
    (ids("a\n\nc\n"), "v.ids.txt:2: an empty id", "none empty"),
    (json_ids('["a", "b"'), "not JSON", "list of ids"),
    (json_ids('{"a": 0}'), "not a list", "list of ids"),
    (latin_ids, "not UTF-8", "UTF-8"),
    (fixed(index="/no/such.npy"), "no such file of vectors", "check the path"),
    (fixed(index="index.faiss"), "'.faiss'", ".npy, .safetensors or .parquet"),
    (nobody_there, "no answer after 1 attempts", "can be reached"),
]


def _name(case: tuple[Make, str, str]) -> str:
    return f"{case[0].__name__}-{case[1][:24]}"


@pytest.mark.parametrize(("make", "place", "remedy"), CASES, ids=[_name(case) for case in CASES])
def test_broken_teacher(make: Make, place: str, remedy: str, tiny_encoder: Path, tmp_path: Path) -> None:
    spec = TeacherSpec(**make(tiny_encoder, tmp_path))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as caught:
        open_teacher(spec)
    assert caught.value.exit_code == 2
    assert place in caught.value.message or place in str(caught.value)
    assert caught.value.fix is not None
    assert remedy in caught.value.fix
    assert "Traceback" not in str(caught.value)
    assert len(caught.value.message.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_ids_without_vectors(tiny_encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"teacher\.index_ids: ids without the vectors"):
        open_teacher(TeacherSpec(model=str(tiny_encoder), index_ids=tmp_path / "ids.txt"))
