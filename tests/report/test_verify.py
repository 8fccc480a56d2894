from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from core import report
from core.cli.main import main
from core.models import adapter_files, plain_tensors
from core.report import html_page, report_data, rescore, verify_report, verify_run
from core.report.verify_run import MATCH, MISMATCH, NOTE, SKIPPED, Check
from core.runs import store
from core.runs.store import Run
from core.util import files as files_
from core.util.errors import UserError
from tests.processes import quick
from tests.report.test_report import copy

PRIVACY = store.BUNDLED_RUNS / "privacy-clean"
FLIPPED = ("after/region.safetensors", "before/adapter_model.safetensors", "metrics.json", "answers.jsonl", "tokens.parquet")


@pytest.fixture
def run(unlearned_run: Run, tmp_path: Path) -> Run:
    return Run(Path(shutil.copytree(unlearned_run.path, tmp_path / "runs" / "copied")))


@pytest.fixture
def shipped(tmp_path: Path) -> Run:
    return copy(tmp_path / "runs")


def wrong(run: Run) -> list[str]:
    return [check.name for check in verify_run.verify(run) if check.state == MISMATCH]


def consistent(run: Run, *files: str, **adapters_: str) -> None:
    """Rewrite the manifest as a forger would, so that the hashes of files are right again."""
    manifest = run.json("manifest.json")
    for name in files:
        manifest["files"][name] = files_.sha256(run.path / name)
    manifest["adapters"] |= adapters_
    (run.path / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("path", sorted(store.BUNDLED_RUNS.iterdir()), ids=lambda path: path.name)
def test_bundled_runs_match(path: Path) -> None:
    checks = list(verify_run.verify(Run(path)))
    assert {check.state for check in checks} == {MATCH}
    assert {check.name for check in checks} == {
        "files",
        "settings",
        "adapters",
        "region",
        "changes",
        "scores",
    }


def test_any_flipped_byte_is_found(run: Run) -> None:
    draw, count = random.Random(7), 0
    for turn in range(30):
        path = run.path / FLIPPED[turn % len(FLIPPED)]
        whole = path.read_bytes()
        position = draw.randrange(len(whole))
        path.write_bytes(whole[:position] + bytes([whole[position] ^ draw.randrange(1, 256)]) + whole[position + 1 :])
        first = next((check for check in verify_run.verify(run) if check.state == MISMATCH), None)
        count += first is not None and path.relative_to(run.path).as_posix() in first.says
        path.write_bytes(whole)
    assert count == 30
    assert next(iter(verify_run.verify(run))).state == MATCH


def test_missing_and_foreign_files_are_named(run: Run) -> None:
    (run.path / "detail.npz").unlink()
    (run.path / "extra.json").write_text("{}")
    (run.path / "label.json").write_text("{}")
    (run.path / "probes").mkdir()
    (run.path / "probes" / "x.json").write_text("{}")
    checks = [check for check in verify_run.verify(run) if check.name == "files"]
    assert [(check.state, "detail.npz" in check.says, "extra.json" in check.says) for check in checks] == [
        (MISMATCH, True, False),
        (NOTE, False, True),
    ]
    assert "label.json" not in checks[1].says
    assert "probes" not in checks[1].says


def test_without_a_manifest_nothing_matches(run: Run) -> None:
    (run.path / "manifest.json").write_text("[]")
    assert wrong(run) == ["manifest"]


def changed_after(run: Run, name: str, outside: bool = False) -> str:
    """Change the largest number of a tensor of after (or add a tensor outside of the region); return the new content
    hash."""
    import numpy as np

    path = run.path / "after" / "region.safetensors"
    tensors = plain_tensors.raw(path)
    if outside:
        whole = plain_tensors.cells(plain_tensors.before(run.path, plain_tensors.slots(run.path)))
        name = next(cell for cell in whole if cell not in tensors)
        tensors[name] = dict(whole[name])
    kind, size, bit = {"F32": ("<u4", 0x7FFFFFFF, 0x00400000), "BF16": ("<u2", 0x7FFF, 0x0040)}[tensors[name]["dtype"]]
    data = np.frombuffer(bytes(tensors[name]["data"]), kind).copy()
    # By a quarter to a half of the largest number: a change of a tiny one is lost in how far the tensor moved.
    data[int((data & size).argmax())] ^= bit
    tensors[name] = {**tensors[name], "data": data.tobytes()}
    path.write_bytes(plain_tensors.pack(tensors))
    return plain_tensors.content_hash(plain_tensors.arrays(plain_tensors.cells(plain_tensors.after(run.path))))


def test_a_rewritten_manifest_does_not_hide_changed_weights(run: Run) -> None:
    name = min(plain_tensors.raw(run.path / "after" / "region.safetensors"))
    digest = changed_after(run, name)
    consistent(run, "after/region.safetensors")
    assert wrong(run) == ["adapters", "changes"]
    consistent(run, after=digest)
    assert wrong(run) == ["changes"]


def test_a_change_outside_of_the_region_is_found(run: Run) -> None:
    consistent(run, "after/region.safetensors", after=changed_after(run, "", outside=True))
    consistent(run, "after/region.safetensors")
    assert "region" in wrong(run)


def test_a_rewritten_manifest_does_not_hide_changed_scores(run: Run) -> None:
    values = run.json("metrics.json")
    values["metrics"]["accuracy"]["values"]["after"]["unlearn/val"] -= 0.01
    (run.path / "metrics.json").write_text(json.dumps(values))
    consistent(run, "metrics.json")
    assert wrong(run) == ["scores"]


@pytest.mark.parametrize(
    "file",
    ["config.json", "region.json", "changes.parquet", "metrics.json", "before/adapter_model.safetensors", "answers.jsonl"],
)
def test_a_damaged_file_is_a_mismatch_and_no_crash(run: Run, file: str) -> None:
    (run.path / file).write_bytes(b"\xff{]")
    consistent(run, file)
    assert wrong(run)


def test_hashes_without_torch_are_those_of_torch(unlearned_run: Run, one_thread: None) -> None:
    values = adapter_files.read_adapter(unlearned_run.path / "before")
    plain = plain_tensors.arrays(
        plain_tensors.cells(plain_tensors.raw(unlearned_run.path / "before" / "adapter_model.safetensors"))
    )
    assert plain_tensors.content_hash(plain) == adapter_files.content_hash(values)
    values |= adapter_files.read_tensors(unlearned_run.path / "after" / "region.safetensors")
    after = plain_tensors.arrays(plain_tensors.cells(plain_tensors.after(unlearned_run.path)))
    assert (
        plain_tensors.content_hash(after)
        == adapter_files.content_hash(values)
        == unlearned_run.json("manifest.json")["adapters"]["after"]
    )


# -- with the model ----------------------------------------------------------------------------------------------------


def states(checks: Any) -> list[tuple[str, str]]:
    return [(check.name, check.state) for check in checks]


def test_the_model_says_again_what_was_recorded(unlearned_run: Run, one_thread: None) -> None:
    assert wrong(unlearned_run) == []
    checks = list(rescore.rescore(unlearned_run, sample=5, seed=1))
    assert states(checks) == [("model", MATCH), ("rescored", MATCH)]
    assert "5 examples (sample 1)" in checks[1].says


def test_another_model_or_other_tokens_are_found(unlearned_run: Run, tmp_path: Path, one_thread: None) -> None:
    run = Run(Path(shutil.copytree(unlearned_run.path, tmp_path / "copied")))
    tokens = run.table("tokens")
    assert tokens is not None
    tokens.assign(logprob_after=tokens["logprob_after"] + 0.1).to_parquet(run.path / "tokens.parquet")
    assert states(rescore.rescore(run, sample=4))[-1] == ("rescored", MISMATCH)
    manifest = run.json("manifest.json")
    manifest["model"]["weights"] = dict.fromkeys(manifest["model"]["weights"], "0" * 64)
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    assert states(rescore.rescore(run, sample=4)) == [("model", MISMATCH)]


def test_without_the_model_it_is_said(unlearned_run: Run, tmp_path: Path, tiny_data: Path) -> None:
    run = Run(Path(shutil.copytree(unlearned_run.path, tmp_path / "copied")))
    quick(tmp_path / "nowhere", tiny_data).save(run.path / "config.json")
    (check,) = rescore.rescore(run)
    assert (check.state, "no model" in check.says) == (SKIPPED, True)


# -- reports -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "r.html"
    report.write(Run(PRIVACY), path)
    return path


def found(path: Path, folder: Path = Path("nowhere")) -> list[Check]:
    return list(verify_report.verify(path, folder))


@pytest.mark.parametrize(("redact", "names"), [(False, False), (False, True), (True, False)])
def test_a_report_matches_its_run(tmp_path: Path, redact: bool, names: bool) -> None:
    report.write(Run(PRIVACY), tmp_path / "r.html", redact=redact, names=names)
    assert states(found(tmp_path / "r.html")) == [("data", MATCH), ("page", MATCH), ("numbers", MATCH)]


def test_a_redacted_report_finds_its_run_though_it_leaves_out_what_the_run_is_called(shipped: Run, tmp_path: Path) -> None:
    named = Run(shipped.path.rename(shipped.path.with_name("20260101-120000-forget-jane-doe-4242")))
    report.write(named, tmp_path / "r.html", redact=True)
    assert "jane-doe" not in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert states(found(tmp_path / "r.html", named.path.parent)) == [("data", MATCH), ("page", MATCH), ("numbers", MATCH)]


def test_any_flipped_byte_of_a_report_is_found(written: Path, tmp_path: Path) -> None:
    whole, draw, path, hits = written.read_bytes(), random.Random(3), tmp_path / "r.html", 0
    start, end = html_page.ISLAND.search(whole.decode()).span(1)  # type: ignore[union-attr]
    for turn in range(30):
        position = draw.randrange(start, end) if turn % 2 else draw.randrange(len(whole))
        path.write_bytes(whole[:position] + bytes([whole[position] ^ draw.randrange(1, 256)]) + whole[position + 1 :])
        try:
            hits += any(check.state == MISMATCH for check in verify_report.verify(path, Path("nowhere")))
        except UserError:  # the data block itself cannot be found any more
            hits += 1
    assert hits == 30


def test_a_number_changed_everywhere_is_found_beside_the_run(written: Path, tmp_path: Path) -> None:
    data = verify_report.read(written)[2]
    assert data is not None
    data["success"][1]["cells"]["after"]["value"] = 99.9
    path = tmp_path / "r.html"
    path.write_text(html_page.render(data), encoding="utf-8")
    checks = found(path)
    assert states(checks) == [("data", MATCH), ("page", MATCH), ("numbers", MISMATCH)]
    assert "success" in checks[-1].says
    data["run"]["id"] = "elsewhere"
    path.write_text(html_page.render(data), encoding="utf-8")
    assert states(found(path))[-1] == ("numbers", SKIPPED)


def test_what_was_added_later_is_a_note(shipped: Run, tmp_path: Path) -> None:
    report.write(shipped, tmp_path / "r.html")
    finding = {"format": 1, "probe": "prefix", "unavailable": "no reason", "settings": {}}
    (shipped.path / "probes").mkdir()
    (shipped.path / "probes" / "prefix.json").write_text(json.dumps(finding))
    assert states(found(tmp_path / "r.html", shipped.path.parent))[2:] == [("numbers", MATCH), ("numbers", NOTE)]


def test_another_version_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_data, "maker", lambda: "0" * 64)
    path = tmp_path / "r.html"
    report.write(Run(PRIVACY), path)
    assert states(found(path))[:2] == [("data", MATCH), ("page", SKIPPED)]


def test_a_report_of_an_earlier_version_is_held_against_what_that_one_told(tmp_path: Path) -> None:
    written = tmp_path / "written.html"
    report.write(Run(PRIVACY), written, names=True)
    data = verify_report.read(written)[2]
    assert data is not None
    data["maker"] = "0" * 64
    del data["pseudonyms"], data["asked"]["answer"], data["asked"]["kept_by"]  # which it did not know
    data["answers"]["counts"] = [row for row in data["answers"]["counts"] if row["voice"] != "never"]
    text = written.read_text(encoding="utf-8")
    block = html_page.ISLAND.search(text)
    assert block
    path = tmp_path / "r.html"

    def write() -> None:
        island = html_page.island(data)
        sealed = text.replace(block[1], island).replace(
            hashlib.sha256(block[1].encode()).hexdigest(), hashlib.sha256(island.encode()).hexdigest()
        )
        path.write_text(sealed, encoding="utf-8")

    data["asked"]["sentences"][0] = data["asked"]["sentences"][0].replace("gibberish", "noise")
    for example in data["answers"]["examples"]:
        example["truth"] = [["".join(piece for piece, _ in example["truth"]), True]]  # it covered other words
        example["why"] = [[text.replace("Gibberish", "Noise"), secret] for text, secret in example["why"]]
    data["main"] = [{**row, "name": "Degenerate answers"} if "gibberish" in row["name"] else row for row in data["main"]]
    write()
    assert states(found(path)) == [("data", MATCH), ("page", SKIPPED), ("numbers", MATCH)]
    data["answers"]["counts"][0]["count"] += 1
    write()
    assert states(found(path))[-1] == ("numbers", MISMATCH)


def test_other_files_are_no_reports(tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    path.write_text("<html></html>")
    with pytest.raises(UserError, match="no data block"):
        found(path)
    path.write_text('<script type="application/json" id="data">[1]</script>')
    assert states(found(path)) == [("data", MISMATCH)]


# -- the command line --------------------------------------------------------------------------------------------------


def test_verbs(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = ["--runs", str(run.path.parent)]
    target = tmp_path / "r.html"
    assert main(["report", "copied", "-o", str(target), "--redact", "--json", *runs]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == target.stat().st_size
    assert main(["verify", str(target), "--no-model", "--json", *runs]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["ok"] is True
    assert {check["name"] for check in value["checks"]} >= {"data", "page", "numbers", "files", "scores", "model"}
    with (run.path / "metrics.json").open("ab") as file:
        file.write(b" ")
    assert main(["verify", "copied", "--no-model", *runs]) == 1
    out = capsys.readouterr()
    assert "do not match" in out.out
    assert "✖ metrics.json is not what the manifest says" in out.err
    assert main(["verify", "nothing", *runs]) == 1
    assert main(["verify", "copied", "--sample", "0", *runs]) == 1
