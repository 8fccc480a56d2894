"""The size of a model without loading it, and without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core.config.stages import ModelConfig
from core.models import loading, names
from core.plan import model_memory
from tests.tiny import make_gguf


def test_it_is_the_same_sum_as_the_one_before_loading(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGETSCOPE_MEMORY_LIMIT", "5e9")
    for dtype in ("float32", "bfloat16"):
        told = loading.memory_check(tiny_llama, dtype, "cpu")
        memory = model_memory.model_memory(ModelConfig(name=str(tiny_llama), dtype=dtype, device="cpu"))
        assert memory
        assert (memory.parameters, memory.needed, memory.available) == (
            told["parameters"],
            told["needed"],
            told["available"],
        )


def test_the_bundled_size_is_that_of_its_file() -> None:
    source = names.bundled_gguf()
    if source is None:
        pytest.skip("the bundled model is not installed")
    assert model_memory._gguf(source) == model_memory.parameter_count("bundled")


def test_files_and_adapters_are_counted(tiny_llama: Path, tmp_path: Path) -> None:
    parameters = model_memory.parameter_count(str(tiny_llama))
    assert model_memory.parameter_count(str(make_gguf(tiny_llama, tmp_path / "tiny.gguf"))) == parameters
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(f'{{"base_model_name_or_path": "{tiny_llama}"}}')
    assert model_memory.parameter_count(str(tmp_path / "adapter")) == parameters


def test_what_is_not_here_has_no_size(tmp_path: Path) -> None:
    assert model_memory.model_memory(ModelConfig(name="nobody/nothing")) is None
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 4)
    assert model_memory.parameter_count(str(tmp_path)) is None


def test_too_little_memory_does_not_fit(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGETSCOPE_MEMORY_LIMIT", "1e8")
    memory = model_memory.model_memory(ModelConfig(name=str(tiny_llama), device="cpu"))
    assert memory
    assert not memory.fits


def test_no_torch_is_imported() -> None:
    code = "import sys; from core.jobs import estimate; from core.plan.model_memory import model_memory\n"
    code += "from core.config.stages import ModelConfig\n"
    code += "model_memory(ModelConfig()); model_memory(ModelConfig(name='a/b')); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
