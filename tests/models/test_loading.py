"""A model name -> model: what is accepted, and what is refused with which sentence."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.config.stages import ModelConfig
from core.models import adapters as adapters_
from core.models import device, loading, names
from core.util import files, paths
from core.util.errors import UserError
from tests.conftest import ROOT
from tests.naive import Bench


def config(name: object, **settings: str) -> ModelConfig:
    return ModelConfig(name=str(name), **{"device": "cpu", "dtype": "float32", **settings})  # type: ignore[arg-type]


@pytest.fixture
def copy(tiny_llama: Path, tmp_path: Path) -> Path:
    """Return a copy of the tiny model's folder that a test may break."""
    return Path(shutil.copytree(tiny_llama, tmp_path / "model"))


def test_folder_is_loaded_frozen_and_in_eval_mode(tiny_llama: Path) -> None:
    loaded = loading.load(config(tiny_llama))
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert loaded.tokenizer.decode(loaded.tokenizer("Ave")["input_ids"]) == "Ave"
    assert loaded.files == {"model.safetensors": files.sha256(tiny_llama / "model.safetensors")}
    assert loaded.adapter is None


@pytest.mark.parametrize(
    ("dtype", "weights"), [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("autocast", torch.float32)]
)
def test_number_formats(tiny_llama: Path, dtype: str, weights: torch.dtype) -> None:
    loaded = loading.load(config(tiny_llama, dtype=dtype))
    assert {p.dtype for p in loaded.model.parameters()} == {weights}
    with device.precision(loaded.model, dtype), torch.no_grad():
        hidden = loaded.model.model.layers[0].mlp(torch.ones(1, 32, dtype=weights))
    assert hidden.dtype == (torch.float32 if dtype == "float32" else torch.bfloat16)


def test_missing_padding_token_is_replaced_by_the_end_token(copy: Path) -> None:
    path = copy / "tokenizer_config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    values.pop("pad_token")
    path.write_text(json.dumps(values), encoding="utf-8")
    tokenizer = loading.load(config(copy)).tokenizer
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 1


def test_tokenizer_without_end_token_is_refused(copy: Path) -> None:
    path = copy / "tokenizer_config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    values.pop("eos_token")
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(UserError, match="no end token"):
        loading.load(config(copy))


def test_pickled_weights_are_refused_unread(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(b"a pickle could run anything")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was read"))
    with pytest.raises(UserError, match="only as pickles"):
        loading.load(config(copy))


def test_pickle_beside_other_safetensors_is_not_read_either(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copy / "model.safetensors").rename(copy / "model-other.safetensors")
    (copy / "pytorch_model.bin").write_bytes(b"a pickle could run anything")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was read"))
    with pytest.raises(UserError, match="could not be loaded"):
        loading.load(config(copy))


def test_folder_without_weights(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no weights"):
        loading.load(config(copy))


def test_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        loading.load(config(tmp_path))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model_type": "unheard-of"}'])
def test_damaged_config(copy: Path, content: str) -> None:
    (copy / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="could not be loaded"):
        loading.load(config(copy))


@pytest.mark.parametrize("keep", [0, 5, 200, -40])
def test_truncated_weights(copy: Path, keep: int) -> None:
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="are damaged") as caught:
        loading.load(config(copy))
    assert "them again" in caught.value.fix


def test_missing_tokenizer(copy: Path) -> None:
    for path in copy.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(UserError):
        loading.load(config(copy))


def test_too_big_model_is_refused_with_the_numbers(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGETSCOPE_MEMORY_LIMIT", "500000000")
    with pytest.raises(UserError, match=r"needs about 0\.6 GB as float32; 0\.5 GB are free on cpu"):
        loading.load(config(tiny_llama))


def test_memory_is_estimated_before_weights_are_read(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    values |= {
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "head_dim": 128,
        "vocab_size": 32000,
    }
    values |= {"num_attention_heads": 64, "num_key_value_heads": 8}
    (copy / "config.json").write_text(json.dumps(values), encoding="utf-8")
    monkeypatch.setenv("FORGETSCOPE_MEMORY_LIMIT", "16e9")
    with pytest.raises(UserError, match=r"68\.98 billion parameters and needs about 152\.3 GB as bfloat16"):
        loading.load(config(copy, dtype="bfloat16"))


def test_estimate_counts_parameters_and_bytes(tiny_llama: Path) -> None:
    count = sum(p.numel() for p in loading.load(config(tiny_llama)).model.parameters())
    full, half = (loading.memory_check(tiny_llama, dtype, "cpu") for dtype in ("float32", "bfloat16"))
    assert full["parameters"] == count
    assert full["needed"] - half["needed"] == pytest.approx(count * 2 * 1.1)


@pytest.mark.parametrize("name", ["nothing", "a/b/c", "./nowhere", "/no/such/folder", "~/no-such-folder", ""])
def test_unknown_names(name: str) -> None:
    with pytest.raises(UserError, match="no model"):
        names.resolve(name)


def test_hub_id_is_left_to_the_hub() -> None:
    assert names.resolve("org/name") == ("org/name", None, "hub org/name")


def test_unreachable_hub_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="could not be loaded") as caught:
        loading.load(config("forgetscope-test/no-such-model"))
    assert "network" in caught.value.fix
    assert "\n" not in str(caught.value)


def test_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello", encoding="utf-8")
    with pytest.raises(UserError, match="is no model"):
        names.resolve(str(tmp_path / "notes.txt"))


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + bytes(64), b"nonsense" * 100])
def test_garbage_gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setenv("FORGETSCOPE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as GGUF"):
        loading.load(config(tmp_path / "m.gguf"))
    assert not list((tmp_path / "cache").rglob("complete"))


@pytest.fixture
def gguf_file(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the tiny Llama as a GGUF file, with an empty cache for conversions."""
    from tests.tiny import make_gguf

    monkeypatch.setenv("FORGETSCOPE_CACHE", str(tmp_path / "cache"))
    return make_gguf(tiny_llama, tmp_path / "tiny.gguf")


def test_gguf_file_is_the_same_model(gguf_file: Path, tiny_llama: Path) -> None:
    ids, text = torch.arange(3, 30)[None], "Write to orla@venning.example."
    loaded, original = loading.load(config(gguf_file)), loading.load(config(tiny_llama))
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(ids).logits, original.model(ids).logits, rtol=1e-4, atol=1e-5)
    assert loaded.tokenizer(text)["input_ids"] == original.tokenizer(text)["input_ids"]
    assert "dequantized from tiny.gguf" in loaded.note
    assert list(loaded.files) == ["model.safetensors"]


def test_gguf_file_is_converted_once(gguf_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = names.converted(gguf_file)
    monkeypatch.setattr(names, "_convert", lambda *_: pytest.fail("converted again"))
    assert names.converted(gguf_file) == first


def test_a_conversion_touches_no_other_one(gguf_file: Path) -> None:
    other = paths.cache_folder() / "models" / "tiny-1.partial" / "half of it"
    other.mkdir(parents=True)
    names.converted(gguf_file.rename(gguf_file.with_name("tiny-1.5.gguf")))
    assert other.is_dir()


def test_truncated_gguf_file_is_refused(gguf_file: Path) -> None:
    content = gguf_file.read_bytes()
    for keep in (30, 2000, len(content) // 2, len(content) - 1000):
        gguf_file.write_bytes(content[:keep])
        with pytest.raises(UserError, match="cannot be read as GGUF"):
            loading.load(config(gguf_file))


def test_missing_bundled_package_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "bundled_gguf", lambda: None)
    with pytest.raises(UserError, match="not installed"):
        loading.load(config("bundled"))


@pytest.fixture
def adapter(bench: Bench, tmp_path: Path) -> Path:
    """Return a saved adapter of the tiny Llama."""
    bench.adapters.save("before", tmp_path / "adapter", str(bench.loaded.folder))
    return tmp_path / "adapter"


def test_adapter_folder_brings_its_base(adapter: Path, tiny_llama: Path, bench: Bench) -> None:
    loaded = loading.load(config(adapter))
    assert (loaded.folder, loaded.adapter) == (tiny_llama, adapter)
    again = adapters_.load(loaded.model, "float32", adapter)
    assert again.hash("before") == bench.adapters.hash("before")


@pytest.mark.parametrize(("content", "words"), [("{", "not a readable"), ("[]", "not a readable"), ("{}", "names no base")])
def test_adapter_with_a_bad_config(adapter: Path, content: str, words: str) -> None:
    (adapter / "adapter_config.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=words):
        loading.load(config(adapter))


def test_pickled_adapter_is_refused(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(UserError, match="only as pickles"):
        loading.load(config(adapter))


def test_adapter_of_a_missing_base(adapter: Path) -> None:
    path = adapter / "adapter_config.json"
    values = json.loads(path.read_text(encoding="utf-8")) | {"base_model_name_or_path": "/no/such/base"}
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(UserError, match="/no/such/base"):
        loading.load(config(adapter))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_absent_device_is_refused(tiny_llama: Path) -> None:
    with pytest.raises(UserError, match="no usable cuda"):
        loading.load(config(tiny_llama, device="cuda"))


def test_automatic_choices_are_concrete() -> None:
    assert device.pick_device("auto") in ("cpu", "cuda", "mps")
    assert device.pick_dtype("auto", "cpu") in ("float32", "bfloat16")
    assert device.pick_dtype("autocast", "cpu") == "autocast"


LIGHT = (
    "core, core.config.run_config, core.runs.store, core.jobs.lifecycle, core.serve.client, core.data.sources, "
    "core.data.facts, core.regions, core.methods, core.metrics, core.runs.askable, core.serve.messages, "
    "core.runs.voices, core.report.export_answers, core.data.widened_questions"
)


def test_light_modules_import_no_heavy_library() -> None:
    code = (
        f"import sys, {LIGHT}\n"
        "heavy = {'torch', 'transformers', 'peft', 'datasets', 'accelerate'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr


def test_names_of_the_package_are_found_lazily() -> None:
    import core

    for name in core.__all__:
        assert getattr(core, name) is not None
    with pytest.raises(AttributeError):
        core.nothing  # noqa: B018


def test_room_is_made_once_before_a_model_is_refused(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGETSCOPE_MEMORY_LIMIT", "1000")
    config = ModelConfig(name=str(tiny_llama), device="cpu", dtype="float32")
    assert loading.load(config, make_room=lambda: monkeypatch.delenv("FORGETSCOPE_MEMORY_LIMIT")).model
    monkeypatch.setenv("FORGETSCOPE_MEMORY_LIMIT", "1000")
    with pytest.raises(UserError, match="needs about"):
        loading.load(config, make_room=lambda: None)


def test_processes_of_a_run_share_the_memory(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGETSCOPE_MEMORY_LIMIT", "1e9")
    assert loading.memory_check(tiny_llama, "float32", "cpu")["needed"] < 0.7e9
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(names.TooBig, match=r"0\.5 GB are free"):
        loading.memory_check(tiny_llama, "float32", "cpu")
