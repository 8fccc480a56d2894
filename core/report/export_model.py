"""The unlearned model for others: the adapter as peft reads it, or the whole model with the adapter merged into it.

Each comes with a model card (README.md, card.json) that says what was done, measured and not known. The adapter is put
together from the run's files without torch; merging loads the model, in a worker (core/report/merged_model.py).
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

from core.jobs import lifecycle
from core.models import plain_tensors
from core.report import model_card
from core.runs import askable, layout
from core.runs.store import Run
from core.util.errors import UserError

RESULT = "result.json"
"""file of the folder in which merging reports: how large what it wrote is"""
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
    card = model_card.model_card(run, folder)
    config = run.json("before/adapter_config.json")
    if not isinstance(config, dict):
        raise UserError(f"The run {run.id} has no readable adapter.", "It is damaged: start it again.")
    base = str(config.get("base_model_name_or_path") or card["run"]["model"])
    if slots := plain_tensors.slots(run.path):
        rank, rslora = int(config["r"]), bool(config.get("use_rslora"))
        alpha = plain_tensors.grown_alpha(config["lora_alpha"], rank, slots, rslora=rslora)
        config |= {"r": rank + slots, "lora_alpha": alpha}
    return {
        "adapter_model.safetensors": plain_tensors.pack(plain_tensors.after(run.path)),
        "adapter_config.json": (json.dumps(config, indent=1, sort_keys=True) + "\n").encode(),
        "card.json": card_json(card),
        "README.md": model_card.readme(card, base, "a LoRA adapter for peft").encode(),
    }


def card_json(card: dict[str, Any]) -> bytes:
    """Return a card as a file."""
    return (json.dumps(card, indent=1, ensure_ascii=False) + "\n").encode()


def adapter_zip(run: Run, folder: Path | None = None) -> bytes:
    """Return the adapter folder as one zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in adapter_files(run, folder).items():
            archive.writestr(
                zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED if name.endswith((".json", ".md")) else zipfile.ZIP_STORED
            )
    return out.getvalue()


def start_merged(run: Run, target: Path, folder: Path | None = None) -> Run:
    """Start the worker that writes the model with its adapter merged into it; return the folder where it reports.

    Raises UserError where the target is there already or the model is not, and while it is being written.
    """
    askable.unlearned(run)
    check_target(target)
    job_folder = layout.job_folder("export", run, folder)
    wanted = {"run": str(run.path), "target": str(target.absolute()), "folder": str(folder.absolute()) if folder else None}
    if not lifecycle.begin("export", job_folder, run.config(), wanted, RESULT):
        raise UserError(f"The model of {run.id} is being written already.", "Wait for it, or cancel it.")
    return job_folder


def check_target(target: Path) -> None:
    """Raise UserError where something is there already."""
    if target.exists():
        raise UserError(f"{target} is there already.", "Name a folder that does not exist yet.")


def merged_bytes(job_folder: Run) -> int:
    """Return how large what a job wrote is."""
    return int((job_folder.json(RESULT) or {}).get("bytes", 0))
