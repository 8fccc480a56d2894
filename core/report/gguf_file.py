"""The unlearned model as a GGUF file, for llama.cpp, Ollama and what stands on them. Imports torch: a worker does it.

The adapter is merged in float32, and rounded once: to f16, or to q8_0 by the gguf package (blocks of 32 weights with one
scale). Vectors stay float32. How tensors are called and what is said of a model follows llama.cpp's own conversion.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from transformers import AutoConfig

from core.models import loading, merging, names, size_limits
from core.models.adapter_files import read_tensors
from core.report import gguf_asked, gguf_check, gguf_text, model_card
from core.report.export_model import card_json, check_target
from core.report.gguf_check import ARCHITECTURES, ELSE
from core.runs import askable
from core.runs.store import Run
from core.serve import client
from core.util import files
from core.util.errors import UserError
from core.util.progress import Reporter

INTERLEAVED = ("llama", "mistral")
"""those of whose rotary heads llama.cpp reads the halves interleaved"""
WEIGHTS = {"f16": gguf.GGMLQuantizationType.F16, "q8_0": gguf.GGMLQuantizationType.Q8_0}
"""how weights may be rounded"""
LARGEST = 65504.0
"""the largest number of f16"""


def write(
    run: Run, target: Path, weights: str, folder: Path | None = None, report: Reporter | None = None
) -> dict[str, Any]:
    """Write a folder with the GGUF file, a Modelfile and a card: it is there whole, or not at all.

    Returns {"bytes", "asked_again", "words"}: of core.report.gguf_asked, counts and sentences.

    weights: f16 or q8_0. The file is asked again before it is handed over, and the card says what came of it. Raises
    UserError where the folder is there already, the model is not, or cannot be written as GGUF.
    """
    check_target(target)
    report = report or Reporter()
    report.stage("gguf", "running")
    card = model_card.model_card(run, folder)
    config, after = run.config(), askable.unlearned(run)
    _look(config.model.name)
    loaded = loading.load(dataclasses.replace(config.model, dtype="float32"), client.leave)
    prompt = gguf_text.prompt(loaded.tokenizer, config.model.template)
    questions = [str(row["question"]) for row in run.answers()]
    gguf_text.check_same(loaded.tokenizer, config.model.template, prompt.template(), questions)
    name = f"model-{weights}.gguf"
    with files.whole_folder(target) as partial:
        merging.check_merging(loaded.model, "Export the adapter instead.")
        adapters = merging.load(loaded.model, "float32", run.path)
        adapters.set("before", read_tensors(after))
        for _ in merging.fold(adapters, "Export the adapter instead."):
            report.check()
        model = adapters.model.unload()
        stops = save(partial / name, model, loaded.tokenizer, config.model.template, weights, run.id, report)
        (partial / "Modelfile").write_text(prompt.modelfile(name, config.answers, stops), encoding="utf-8")
        del model, adapters, loaded
        asked = gguf_asked.again(run, partial / name, report)
        made = {"file": name, "weights": weights, "sha256": files.sha256(partial / name)}
        (partial / "card.json").write_bytes(card_json({**card, "gguf": {**made, "asked_again": asked}}))
        readme = model_card.readme(card, str(card["run"]["model"]), f"the whole model, adapter merged, as GGUF {weights}")
        readme = readme.replace("library_name: peft", "library_name: gguf")
        readme += "\n## The file, asked again\n\n" + gguf_asked.in_words(asked) + "\n"
        (partial / "README.md").write_text(readme, encoding="utf-8")
    return {"bytes": files.folder_size(target), "asked_again": asked, "words": gguf_asked.in_words(asked)}


def _look(name: str) -> None:
    """Raise UserError for a model that cannot be written, before its weights are read, or fetched from the hub."""
    try:
        shape = AutoConfig.from_pretrained(names.resolve(name)[0])
    except (OSError, ValueError) as error:
        raise size_limits.failed(name, error) from error
    gguf_check.check_architecture(shape.to_dict())


def save(
    path: Path, model: Any, tokenizer: Any, template: str, weights: str, name: str, report: Reporter | None = None
) -> list[str]:
    """Write a model as one GGUF file; return the texts that end an answer. template: how a run writes its prompts.

    Raises UserError for what llama.cpp would read or compute as something else, OSError where it cannot be written.
    """
    shape = model.config
    gguf_check.check_architecture(shape.to_dict())
    writer = gguf.GGUFWriter(path, ARCHITECTURES[shape.model_type])
    _describe(writer, shape, name, weights)
    stops = gguf_text.write_tokenizer(writer, tokenizer, template, int(shape.vocab_size))
    writer.add_chat_template(gguf_text.prompt(tokenizer, template).template())
    _add_tensors(writer, model, shape, weights, report or Reporter())
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
    return stops


def _describe(writer: gguf.GGUFWriter, shape: Any, name: str, weights: str) -> None:
    """Write what llama.cpp must know of a model beside its tensors."""
    heads = int(shape.num_attention_heads)
    head = int(getattr(shape, "head_dim", None) or shape.hidden_size // heads)
    rope = getattr(shape, "rope_parameters", None) or {}
    room = int(shape.max_position_embeddings)
    window = getattr(shape, "sliding_window", None)
    writer.add_type("model")
    writer.add_name(name)
    writer.add_block_count(int(shape.num_hidden_layers))
    # What lies further back than its window a model does not see, and llama.cpp would show it.
    writer.add_context_length(min(room, int(window)) if window else room)
    writer.add_embedding_length(int(shape.hidden_size))
    writer.add_feed_forward_length(int(shape.intermediate_size))
    writer.add_head_count(heads)
    writer.add_head_count_kv(int(shape.num_key_value_heads))
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(float(shape.rms_norm_eps))
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(float(rope.get("rope_theta") or getattr(shape, "rope_theta", None) or 10_000.0))
    writer.add_vocab_size(int(shape.vocab_size))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if weights == "f16" else gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _add_tensors(writer: gguf.GGUFWriter, model: Any, shape: Any, weights: str, report: Reporter) -> None:
    """Round and add all tensors. Raises UserError for one that llama.cpp has no name for, or that f16 cannot hold."""
    names = gguf.get_tensor_name_map(_architecture(shape), int(shape.num_hidden_layers))
    tensors = dict(_tensors(model, shape))
    for number, (name, tensor) in enumerate(tensors.items(), start=1):
        called = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if called is None:
            raise UserError(f"GGUF has no name for this model's tensor {name}.", ELSE)
        array = tensor.detach().float().numpy()
        kind = _kind(array, weights)
        if kind != gguf.GGMLQuantizationType.F32 and not np.abs(array).max() <= LARGEST:
            raise UserError(f"The tensor {name} holds numbers that f16 cannot hold.", ELSE)
        writer.add_tensor(called, gguf.quants.quantize(array, kind), raw_dtype=kind)
        report.progress(number, len(tensors), "tensors")
        report.check()


def _architecture(shape: Any) -> gguf.MODEL_ARCH:
    """Return the gguf package's constant for a model's architecture."""
    return {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}[ARCHITECTURES[shape.model_type]]


def _tensors(model: Any, shape: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield a model's tensors as llama.cpp wants them. What is tied to the embedding stands in the file once."""
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and shape.tie_word_embeddings:
            continue
        if shape.model_type in INTERLEAVED and ".self_attn." in name:
            heads = {"q_proj": shape.num_attention_heads, "k_proj": shape.num_key_value_heads}.get(name.split(".")[-2])
            if heads:
                halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
                tensor = halves.swapaxes(1, 2).reshape(tensor.shape)
        yield name, tensor


def _kind(array: np.ndarray, weights: str) -> gguf.GGMLQuantizationType:
    """Return the number format of a tensor: vectors stay float32, and rows that do not fill blocks become f16."""
    if array.ndim == 1:
        return gguf.GGMLQuantizationType.F32
    block, _ = gguf.GGML_QUANT_SIZES[WEIGHTS[weights]]
    return WEIGHTS[weights] if array.shape[-1] % block == 0 else gguf.GGMLQuantizationType.F16
