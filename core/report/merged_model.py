"""The whole model of a run with its adapter merged into it, as a folder of safetensors. Imports torch: a worker does it."""

from __future__ import annotations

from pathlib import Path

from core.jobs.lifecycle import WANTED
from core.jobs.status_log import Log
from core.models import loading, merging
from core.models.adapter_files import read_tensors
from core.report import gguf_file, model_card
from core.report.export_model import RESULT, WHOLE, card_json, check_target
from core.runs import askable
from core.runs.store import Run
from core.serve import client
from core.util import files
from core.util.progress import Reporter


def work(job_folder: Run, log: Log) -> None:
    """Write the whole model in the form that is wanted."""
    wanted = job_folder.json(WANTED)
    folder = Path(wanted["folder"]) if wanted["folder"] else None
    run, target = Run(Path(wanted["run"])), Path(wanted["target"])
    if weights := WHOLE[wanted["kind"]]:
        result = gguf_file.write(run, target, weights, folder, log)
    else:
        result = {"bytes": write_merged(run, target, folder, log)}
    files.write_json(job_folder.path / RESULT, result)


def write_merged(run: Run, target: Path, folder: Path | None = None, report: Reporter | None = None) -> int:
    """Write the model with its adapter merged into it as a folder of safetensors, in one step; return its bytes.

    Weights keep the number format of the run's base (bfloat16 rounds what is merged; the card says so). Raises UserError
    where the folder is there already or the model is not.
    """
    check_target(target)
    card = model_card.model_card(run, folder)
    with files.whole_folder(target) as partial:
        dtype = _merge_into(run, partial, report or Reporter())
        (partial / "card.json").write_bytes(card_json({**card, "merged": {"dtype": dtype}}))
        words = f"the whole model, adapter merged, weights in {dtype}"
        readme = model_card.readme(card, str(card["run"]["model"]), words).replace(
            "library_name: peft", "library_name: transformers"
        )
        (partial / "README.md").write_text(readme, encoding="utf-8")
    return files.folder_size(target)


def _merge_into(run: Run, target: Path, report: Reporter) -> str:
    """Load, merge, save; return the number format of the weights."""
    report.stage("merge", "running")
    after = askable.unlearned(run)
    loaded = loading.load(run.config().model, client.leave)
    merging.check_merging(loaded.model, "Export the adapter instead.")
    dtype = str((run.json("manifest.json") or {}).get("dtype") or "float32")
    adapters = merging.load(loaded.model, dtype, run.path)
    adapters.set("before", read_tensors(after))
    total = len({cell.name for cell in adapters.cells if cell.factor == "A"})
    for number, _ in enumerate(merging.fold(adapters, "Export the adapter instead."), start=1):
        report.progress(number, total, "weights")
    model = adapters.model.unload()
    model.save_pretrained(target)
    loaded.tokenizer.save_pretrained(target)
    return str(next(model.parameters()).dtype).removeprefix("torch.")
