from __future__ import annotations

import csv
import io
import json
import shutil
import zipfile
from pathlib import Path

import pytest

from core.cli.main import main
from core.data.corpus import SCOPES
from core.report import export_model, export_tables, merged_model, model_card
from core.runs import store
from core.runs.store import Run
from core.util.errors import UserError

PRIVACY = store.BUNDLED_RUNS / "privacy-clean"
QUESTION = [5, 9, 17, 33, 60]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft
def test_the_adapter_is_after_as_peft_reads_it(unlearned_run: Run, tmp_path: Path, one_thread: None) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with zipfile.ZipFile(io.BytesIO(export_model.adapter_zip(unlearned_run))) as archive:
        assert sorted(archive.namelist()) == ["README.md", "adapter_config.json", "adapter_model.safetensors", "card.json"]
        archive.extractall(tmp_path / "adapter")
    model = unlearned_run.config().model.name
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation="eager")
    theirs = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    with torch.no_grad():
        logits = theirs(torch.tensor([QUESTION])).logits
    assert torch.allclose(logits, ours(unlearned_run), atol=1e-5)
    merged_model.write_merged(unlearned_run, tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(
        tmp_path / "merged", dtype=torch.float32, attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        assert torch.allclose(merged(torch.tensor([QUESTION])).logits, logits, atol=1e-4)
    assert (tmp_path / "merged" / "tokenizer.json").exists()
    assert json.loads((tmp_path / "merged" / "card.json").read_text())["merged"] == {"dtype": "float32"}
    assert "library_name: transformers" in (tmp_path / "merged" / "README.md").read_text()
    with pytest.raises(UserError, match="there already"):
        merged_model.write_merged(unlearned_run, tmp_path / "merged")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "merged"]


def ours(run: Run):  # type: ignore[no-untyped-def]
    """Return the logits of the run's model after unlearning, as the answering process computes them."""
    import torch

    from core.serve.service import Service

    service = Service()
    service.load(run, run.path.parent)
    with service.adapters.active("after") as model, torch.no_grad():
        return model(input_ids=torch.tensor([QUESTION])).logits


def test_a_run_whose_base_was_changed_has_no_adapter_to_give(tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(PRIVACY, tmp_path / "copied")))
    (run.path / "taught").mkdir()
    with pytest.raises(UserError, match="merged"):
        export_model.adapter_zip(run)
    shutil.rmtree(run.path / "after")
    with pytest.raises(UserError, match="no unlearned model"):
        export_model.adapter_zip(run)


def test_the_card_says_what_was_measured_and_tells_nothing() -> None:
    run = Run(PRIVACY)
    card = model_card.model_card(run)
    text = json.dumps(card, ensure_ascii=False) + model_card.readme(card, "bundled", "x")
    for row in (row for row in run.answers() if row["scope"] in SCOPES):
        assert row["subject"] not in text
        assert row["truth"] not in text
    manifest = json.loads((PRIVACY / "manifest.json").read_text())
    assert card["adapters"] == manifest["adapters"]
    assert card["data"]["fingerprint"] == manifest["data"]["fingerprint"]
    assert card["region"]["count"] == run.json("region.json")["count"]
    row = next(row for row in card["scores"] if row["key"] == "unlearn/val")
    assert row["cells"]["after"]["low"] < row["cells"]["after"]["value"] < row["cells"]["after"]["high"]
    assert card["limits"]


def test_a_hostile_card_is_text(tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(PRIVACY, tmp_path / "copied")))
    values = run.json("config.json")
    values["name"] = "<img src=x> [a](javascript:b) `c` # d"
    (run.path / "config.json").write_text(json.dumps(values))
    text = model_card.readme(model_card.model_card(run), 'x"\n- y: z', "words")
    assert "<img" not in text
    assert "[a](" not in text
    assert "\n# d" not in text
    assert text.splitlines()[1] == 'base_model: "x\\"\\n- y: z"'


@pytest.fixture
def formulas(tmp_path: Path) -> Run:
    """Return a run whose every text begins like a formula."""
    run = Run(Path(shutil.copytree(PRIVACY, tmp_path / "copied")))
    rows = [{**row, "question": "=1+1", "truth": "@SUM(A1)", "before": "+1+1", "after": "\t-1"} for row in run.answers()]
    (run.path / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return run


def test_no_cell_of_a_table_is_a_formula(formulas: Run) -> None:
    with zipfile.ZipFile(io.BytesIO(export_tables.as_csv(formulas))) as archive:
        files = {name: list(csv.reader(io.StringIO(archive.read(name).decode(), newline=""))) for name in archive.namelist()}
    assert {"answers.csv", "scores.csv", "tokens.csv", "localization.csv", "unlearn_curve.csv"} <= set(files)
    answers = [dict(zip(files["answers.csv"][0], row, strict=True)) for row in files["answers.csv"][1:]]
    assert len(answers) == sum(row["scope"] in SCOPES for row in formulas.answers())
    assert (answers[0]["question"], answers[0]["truth"], answers[0]["after"]) == ("'=1+1", "'@SUM(A1)", "'\t-1")
    for rows in files.values():
        for row in rows:
            for cell in row:
                first = cell.lstrip()[:1]
                assert first not in ("=", "@", "+", "-") or cell.replace(".", "").replace("e-", "").lstrip("-").isdigit(), (
                    cell
                )
    inside = [row[-1] for row in files["localization.csv"][1:]]
    assert inside.count("True") == formulas.json("region.json")["count"]


def test_parquet_holds_the_same_values() -> None:
    import pandas as pd

    run = Run(PRIVACY)
    with zipfile.ZipFile(io.BytesIO(export_tables.as_parquet(run))) as archive:
        scores = pd.read_parquet(io.BytesIO(archive.read("scores.parquet")))
        tokens = pd.read_parquet(io.BytesIO(archive.read("tokens.parquet")))
    mine = scores[(scores["metric"] == "accuracy") & (scores["voice"] == "after") & (scores["part"] == "unlearn/val")]
    assert mine["value"].item() == run.json("metrics.json")["metrics"]["accuracy"]["values"]["after"]["unlearn/val"]
    recorded = run.table("tokens")
    assert recorded is not None
    pd.testing.assert_frame_equal(tokens, recorded)


def test_comparator_has_every_recorded_pair() -> None:
    run = Run(PRIVACY)
    value = json.loads(export_tables.as_comparator(run))
    rows = [row for row in run.answers() if "before" in row and "after" in row]
    assert [example["input_text"] for example in value["examples"]] == [row["question"] for row in rows]
    first, row = value["examples"][0], rows[0]
    assert (first["output_text_a"], first["output_text_b"]) == (row["before"], row["after"])
    assert first["custom_fields"]["true_answer_logprob"][0] < 0


def test_a_run_that_recorded_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copy(PRIVACY / "config.json", tmp_path / "empty")
    with pytest.raises(UserError, match="nothing"):
        export_tables.as_csv(Run(tmp_path / "empty"))


def test_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("adapter", "csv", "parquet", "comparator", "card"):
        assert main(["export", "privacy-clean", "--as", kind, "-o", str(tmp_path / kind), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["bytes"] == (tmp_path / kind).stat().st_size
    assert main(["export", "privacy-memflex", "privacy-clean", "--as", "csv", "-o", str(tmp_path / "x")]) == 1
    assert "takes one run" in capsys.readouterr().err


def test_a_push_to_the_hub_is_a_dry_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *given: pytest.fail("something was sent"))
    assert main(["export", "privacy-clean", "--as", "hub", "-o", "somebody/unlearned", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["dry_run"] is True
    assert plan["files"] == {name: len(data) for name, data in export_model.adapter_files(Run(PRIVACY)).items()}
    assert "README.md" in plan["files"]
    assert main(["export", "privacy-clean", "--as", "hub", "-o", "no name"]) == 1
    assert "is no name on the hub" in capsys.readouterr().err
