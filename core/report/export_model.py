"""The unlearned model for others: the adapter as peft reads it, or the whole model with the adapter merged into it.

Each comes with a model card (README.md, card.json) that says what was done, measured and not known. The adapter is put
together from the run's files without torch; merging loads the model.
"""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

from core.models import plain_tensors
from core.report import model_card
from core.runs import askable
from core.runs.store import Run
from core.util import failures
from core.util.errors import UserError

MERGED_BASE = "taught"
"""folder of a run whose base has the taught adapter merged into it: there the adapter alone is not the model"""


def adapter_files(run: Run, folder: Path | None = None) -> dict[str, bytes]:
    """Return name -> content of a peft adapter folder. Raises UserError where there is no unlearned model, or it is no
    adapter.
    """
    askable.unlearned(run)
    if (run.path / MERGED_BASE).is_dir():
        raise UserError(
            f"In the run {run.id} what was taught is merged into the base, so the adapter alone is not the model.",
            "Export the merged model instead.",
        )
    of = model_card.model_card(run, folder)
    config = run.json("before/adapter_config.json")
    if not isinstance(config, dict):
        raise UserError(f"The run {run.id} has no readable adapter.", "It is damaged: start it again.")
    base = str(config.get("base_model_name_or_path") or of["run"]["model"])
    return {
        "adapter_model.safetensors": plain_tensors.pack(plain_tensors.after(run.path)),
        "adapter_config.json": (json.dumps(config, indent=1, sort_keys=True) + "\n").encode(),
        "card.json": card_json(of),
        "README.md": model_card.readme(of, base, "a LoRA adapter for peft").encode(),
    }


def card_json(of: dict[str, Any]) -> bytes:
    """Return a card as a file."""
    return (json.dumps(of, indent=1, ensure_ascii=False) + "\n").encode()


def adapter_zip(run: Run, folder: Path | None = None) -> bytes:
    """Return the adapter folder as one zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in adapter_files(run, folder).items():
            archive.writestr(
                zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED if name.endswith((".json", ".md")) else zipfile.ZIP_STORED
            )
    return out.getvalue()


def write_merged(run: Run, target: Path, folder: Path | None = None) -> int:
    """Write the model with its adapter merged into it as a folder of safetensors, in one step; return its bytes.

    Weights keep the number format of the run's base (bfloat16 rounds what is merged; the card says so). Raises UserError
    where the folder is there already or the model is not.
    """
    if target.exists():
        raise UserError(f"{target} is there already.", "Name a folder that does not exist yet.")
    of = model_card.model_card(run, folder)
    partial = target.with_name(f".{target.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        dtype = _merge_into(run, partial)
        (partial / "card.json").write_bytes(card_json({**of, "merged": {"dtype": dtype}}))
        words = f"the whole model, adapter merged, weights in {dtype}"
        readme = model_card.readme(of, str(of["run"]["model"]), words).replace(
            "library_name: peft", "library_name: transformers"
        )
        (partial / "README.md").write_text(readme, encoding="utf-8")
        partial.rename(target)
    except OSError as error:
        raise failures.disk_error(target, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


def _merge_into(run: Run, place: Path) -> str:
    """Load, merge, save; return the number format of the weights."""
    from core.models import loading, merging
    from core.models.adapter_files import read_tensors

    after = askable.unlearned(run)
    loaded = loading.load(run.config().model)
    merging.check_merging(loaded.model, "Export the adapter instead.")
    dtype = str((run.json("manifest.json") or {}).get("dtype") or "float32")
    adapters = merging.load(loaded.model, dtype, run.path)
    adapters.set("before", read_tensors(after))
    for _ in merging.fold(adapters, "Export the adapter instead."):
        pass
    model = adapters.model.unload()
    model.save_pretrained(place)
    loaded.tokenizer.save_pretrained(place)
    return str(next(model.parameters()).dtype).removeprefix("torch.")
