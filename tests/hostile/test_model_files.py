"""Every hostile model is refused with a sentence before its size costs anything, and none runs code."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch  # noqa: F401 - so that no input pays for its import
import transformers  # noqa: F401

from core.config.stages import ModelConfig
from core.models import loading
from core.plan import model_memory
from core.util.errors import UserError
from tests.hostile import archives, model_files
from tests.hostile.harness import TAKEN, Around, calm
from tests.tiny import make_gguf


@pytest.fixture
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Around:
    made = Around.make(tmp_path)
    monkeypatch.setenv("FORGETSCOPE_CACHE", str(made.folder / "cache"))
    monkeypatch.chdir(made.folder)
    return made


@pytest.fixture(scope="module")
def sound_gguf(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_gguf(tiny_llama, tmp_path_factory.mktemp("gguf") / "m.gguf").read_bytes()


def refused(name: str, words: str, around: Around) -> None:
    """Load a model and compare the sentence; words: any of these."""

    def act() -> None:
        try:
            loading.load(ModelConfig(name=name))
        except UserError as error:
            if not any(word in str(error) for word in words.split("|")):
                raise
            raise UserError(words) from error

    calm(act, words, around)
    assert not list(around.outside.rglob("hit")), "its code was run"
    model_memory.parameter_count(name) if not words.startswith(("adapter", "no", "code")) else None


@pytest.mark.parametrize("case", list(model_files.HEADS))
def test_a_head_of_gguf(case: str, around: Around) -> None:
    data, words = model_files.HEADS[case]
    path = around.folder / "\x1b[2Jm.gguf"
    path.write_bytes(data)
    refused(str(path), words, around)
    assert not list((around.folder / "cache" / "models").glob("*/complete"))


@pytest.mark.parametrize("case", list(model_files.VALUES))
def test_a_value_of_gguf(case: str, sound_gguf: bytes, around: Around) -> None:
    path = around.folder / "m.gguf"
    path.write_bytes(model_files.changed(sound_gguf, *model_files.VALUES[case]))
    refused(str(path), "cannot be read as GGUF|could not be loaded|describes|GB", around)


def test_the_sound_one_is_loaded(sound_gguf: bytes, around: Around) -> None:
    """The refusals above are of what was changed."""
    path = around.folder / "m.gguf"
    path.write_bytes(model_files.changed(sound_gguf, b"llama.block_count", 2))
    assert loading.load(ModelConfig(name=str(path))).model.config.num_hidden_layers == 2


@pytest.mark.parametrize("case", list(model_files.FOLDERS))
def test_a_folder(case: str, tiny_llama: Path, around: Around) -> None:
    files, words = model_files.FOLDERS[case]
    folder = Path(shutil.copytree(tiny_llama, around.folder / "model"))
    for name, content in files.items():
        place = folder / name
        there = place.read_bytes() if place.exists() else b""
        place.unlink(missing_ok=True)
        if content is not None:
            place.write_bytes(model_files.written(name, content, there, str(folder)))
    if words == TAKEN:
        calm(lambda: loading.load(ModelConfig(name=str(folder))), words, around)
    else:
        refused(str(folder), words, around)
    assert not list(around.outside.rglob("hit"))


@pytest.mark.parametrize("case", [name for name, (_, word) in archives.SAFETENSORS.items() if word != TAKEN])
def test_weights(case: str, tiny_llama: Path, around: Around) -> None:
    """A header bomb is one in a model's folder as well as in an archive."""
    folder = Path(shutil.copytree(tiny_llama, around.folder / "model"))
    (folder / "model.safetensors").write_bytes(archives.SAFETENSORS[case][0])
    refused(str(folder), "could not be loaded|damaged|dimensions|tensors", around)
