"""The unlearned model for others: the adapter as peft reads it, or the whole model with the adapter merged into it.

Each comes with a model card (README.md, card.json) that says what was done, measured and not known. The adapter is put
together from the run's files without torch; merging loads the model, in a worker (core/report/merged_model.py, and
core/report/gguf_file.py for GGUF).
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

from core.jobs import lifecycle
from core.models import names, plain_tensors
from core.report import gguf_check, model_card
from core.runs import askable, layout
from core.runs.store import Run
from core.util.errors import UserError

WHOLE = {"merged": "", "gguf-f16": "f16", "gguf-q8_0": "q8_0"}
"""kinds of export that hold the whole model -> how GGUF rounds its weights; empty for safetensors"""
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


def hub_push(run: Run, repository: str, folder: Path | None = None) -> dict[str, Any]:
    """Return what a push of the adapter and its card to the hub would send. Nothing is sent: this is a dry run.

    Returns {"repository", "dry_run", "files": {name: bytes}, "bytes"}. Raises UserError for a name that is none on the hub.
    """
    if not names.HUB_ID.fullmatch(repository):
        raise UserError(f"“{repository[:80]}” is no name on the hub.", "Write it as ORGANISATION/NAME.")
    sizes = {name: len(data) for name, data in adapter_files(run, folder).items()}
    return {"repository": repository, "dry_run": True, "files": sizes, "bytes": sum(sizes.values())}


def start_whole(run: Run, target: Path, folder: Path | None = None, kind: str = "merged") -> Run:
    """Start the worker that writes the model with its adapter merged into it; return the folder where it reports.

    kind: one of WHOLE. Raises UserError where the target is there already or the model is not, for one that cannot be
    written so, and while it is being written.
    """
    askable.unlearned(run)
    check_target(target)
    if WHOLE[kind]:
        gguf_check.check(run.config().model.name)
    job_folder = layout.job_folder("export", run, folder)
    wanted = {
        "run": str(run.path),
        "target": str(target.absolute()),
        "folder": str(folder.absolute()) if folder else None,
        "kind": kind,
    }
    if not lifecycle.begin("export", job_folder, run.config(), wanted, RESULT):
        raise UserError(f"The model of {run.id} is being written already.", "Wait for it, or cancel it.")
    return job_folder


def check_target(target: Path) -> None:
    """Raise UserError where something is there already."""
    if target.exists():
        raise UserError(f"{target} is there already.", "Name a folder that does not exist yet.")


def result(job_folder: Run) -> dict[str, Any]:
    """Return what a job says of what it wrote: "bytes" and, of a GGUF file, "asked_again" and that in "words"."""
    return job_folder.json(RESULT) or {}
