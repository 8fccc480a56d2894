"""The table of kinds of job, and the commands that let a worker load a model for them and wait."""

from __future__ import annotations

import json
import pkgutil
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from core.cli.main import VERBS, main
from core.jobs import under_way, worker
from core.jobs.status_log import Log
from core.runs import layout, store, trash
from core.runs.layout import KINDS
from core.runs.store import Run
from core.util.errors import UserError
from tests.jobs.in_process import here
from tests.processes import ROOT, until

__all__ = ["here"]


@pytest.fixture
def run(unlearned_run: Run, tmp_path: Path) -> Run:
    return Run(Path(shutil.copytree(unlearned_run.path, tmp_path / "runs" / unlearned_run.id)))


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_names_a_function(kind: str) -> None:
    assert callable(pkgutil.resolve_name(KINDS[kind].work))


def test_each_kind_has_a_folder_of_its_own() -> None:
    folders = [kind.folder for kind in KINDS.values()]
    assert len(set(folders)) == len(folders)
    assert all(folder.startswith(".") for name, folder in zip(KINDS, folders, strict=True) if name != "run")


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_names_its_functions(verb: str) -> None:
    for name in filter(None, (VERBS[verb].run, VERBS[verb].options)):
        assert callable(pkgutil.resolve_name(name))


def test_help_and_lists_import_neither_torch_nor_the_other_verbs() -> None:
    code = "import sys; from core.cli.main import main\n"
    code += "try: main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not [m for m in sys.modules if m.startswith('core.cli.') and m != 'core.cli.main']\n"
    code += "main(['runs']); assert not {'torch', 'datasets', 'core.cli.sweep', 'core.jobs.lifecycle'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert all(verb.help[:30] in done.stdout for verb in VERBS.values())


def test_verify_lets_a_worker_ask_the_model(here: None, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", run.id, "--runs", str(run.path.parent), "--json", "--sample", "3", "--seed", "1"]) == 0
    checks = {one["name"]: one for one in json.loads(capsys.readouterr().out)["checks"]}
    assert (checks["model"]["state"], checks["rescored"]["state"]) == ("match", "match")
    assert "3 examples (sample 1)" in checks["rescored"]["says"]
    job_folder = layout.job_folder("rescore", run)
    assert job_folder.status()["state"] == "done"
    assert any(event["kind"] == "progress" for event in job_folder.events())


def test_export_lets_a_worker_merge(
    here: None, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["export", run.id, "--runs", str(run.path.parent), "--as", "merged", "-o", "merged", "--json"]
    assert main(arguments) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["bytes"] == sum(path.stat().st_size for path in (tmp_path / "merged").rglob("*") if path.is_file())
    assert (tmp_path / "merged" / "tokenizer.json").exists()
    assert main(arguments) == 1
    assert "there already" in capsys.readouterr().err


def test_what_went_wrong_in_the_worker_is_the_commands_error(
    here: None, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = run.json("config.json")
    values["model"]["name"] = str(tmp_path / "nowhere")
    (run.path / "config.json").write_text(json.dumps(values))
    assert main(["export", run.id, "--runs", str(run.path.parent), "--as", "merged", "-o", str(tmp_path / "m")]) == 1
    assert "nowhere" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


@pytest.mark.usefixtures("no_process_left")
def test_a_command_waits_for_its_turn_says_so_and_can_be_cancelled(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, ended = store.create(run.config(), run.path.parent), list[int]()
    arguments = ["export", run.id, "--runs", str(run.path.parent), "--as", "merged", "-o", str(tmp_path / "m")]
    with worker.turn(run.config(), Log(first)):
        command = threading.Thread(target=lambda: ended.append(main(arguments)))
        command.start()
        job_folder = layout.job_folder("export", run)
        until(lambda: job_folder.status().get("position") == 2, "waiting", 60)
        assert ("export", job_folder) in [(work.kind, work.job_folder) for work in under_way.work(run.path.parent)]
        with pytest.raises(UserError, match="under way: export"):
            trash.delete(run)
        job_folder.cancel()
        command.join(60)
    assert ended == [130]
    said = capsys.readouterr().err
    assert f"Waiting for the CPU: run {first.id} ({first.config().name}), at work" in said
    assert not (tmp_path / "m").exists()
