"""What can be refused is refused before it takes a place in the queue: at once, in one line, and nothing is left behind."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from core import regions
from core.config import trust
from core.config.run_config import RunConfig, preset
from core.config.stages import AuditConfig
from core.data import sources
from core.jobs import lifecycle, queue, worker
from core.jobs import sweep as sweep_
from core.jobs.sweep import Member
from core.models.names import TooBig
from core.plan import admission, model_memory
from core.runs import store
from core.runs.store import Run
from core.util import files
from core.util.errors import UserError
from tests.processes import QUICK, command, quick
from tests.tiny import make_data

GOOD = "question,answer,scope\nWhere does Orla live?,At Quay Street 14.,unlearn\nWhat does Orla do?,She paints.,retention\n"
LINES = {
    "good.csv": GOOD,
    "columns.csv": "question,answer\nWho?,Me\n",
    "row.csv": f"{GOOD}Who?,,unlearn\n",
    "one-scope.csv": "question,answer,scope\nWho is it?,Orla.,unlearn\n",
    "empty.csv": "",
    "broken.json": "[{",
    "notes.txt": "nothing",
    "general.csv": "question,answer\n",
}
"""file -> what stands in it"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Run]:
    """Somebody else's run, which has the device."""
    other = store.create(RunConfig(), tmp_path / "theirs")
    folder = worker.queue_folder(other.config())
    ticket = queue.take(folder, other)
    queue.begin(folder, ticket)
    yield other
    assert [ticket.run for ticket in queue.waiting(folder)] == [other.path], "somebody waits, or took the device"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with data and models, good and bad."""
    for name, text in LINES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    make_data(tmp_path / "data")
    for name in ("model", "damaged", "pickles", "configuration", "layers"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        # Its names and shapes are all that is looked at.
        weights = {f"model.layers.{layer}.self_attn.q_proj.weight": np.zeros((8, 16), np.float32) for layer in (0, 1)}
        save_file(weights, folder / "model.safetensors")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"no weights")
    (tmp_path / "pickles" / "model.safetensors").rename(tmp_path / "pickles" / "pytorch_model.bin")
    (tmp_path / "configuration" / "config.json").write_text("{")
    files.write_json(tmp_path / "layers" / "config.json", {"num_hidden_layers": 10**6})
    (tmp_path / "nothing").mkdir()
    (tmp_path / "mine.gguf").write_bytes(b"GGUF?")
    for name, base in (("adapter", tmp_path / "gone"), ("empty-adapter", tmp_path / "model")):
        (tmp_path / name).mkdir()
        files.write_json(tmp_path / name / "adapter_config.json", {"base_model_name_or_path": str(base)})
    shutil.copy(tmp_path / "model" / "model.safetensors", tmp_path / "adapter" / "adapter_model.safetensors")
    return tmp_path


DATA = [
    ("--data={0}/nowhere.csv", "There is no data at"),
    ("--data={0}/columns.csv", "has no column “scope”. Found: question, answer."),
    ("--data={0}/row.csv", "row 3 has no answer. Repair or remove these rows."),
    ("--data={0}/one-scope.csv", "The retention scope has no train example."),
    ("--data={0}/empty.csv", "empty.csv"),
    ("--data={0}/broken.json", "broken.json is not valid JSON"),
    ("--data={0}/notes.txt", "notes.txt is no data file. Known endings:"),
    ("--data=", "There is no data without a source."),
    ("--subset=privcy", "There is no subset “privcy”. Did you mean “privacy”?"),
    ("--data=knowundo --subset=privcy", "There is no subset “privcy”. Did you mean “privacy”?"),
    ("--set='data.subjects=Orla Vening'", "There is no subject “Orla Vening”. Did you mean “Orla Venning”?"),
    ("--set=data.forget=Nobody", "There is no subject “Nobody”."),
    ("--set=evaluate.splits=dev", "There is no example in the split dev. Set data.dev_share."),
    ("--data={0}/good.csv --set=data.widen=5", "No question can be widened"),
    ("--method=ga-kl-ood --set=data.general={0}/nowhere.csv", "There is no general text at"),
    ("--method=ga-kl-ood --set=data.general={0}/general.csv", "general.csv has no row with question and answer."),
]
MODELS = [
    ("--model=no-such-model", "There is no model “no-such-model”."),
    ("--model=../up/there", "There is no model"),
    ("--model={0}/nothing", "holds no model (no config.json)."),
    ("--model={0}/damaged", "are damaged: it is not a safetensors file, or"),
    ("--model={0}/pickles", "has its weights only as pickles. Convert them"),
    ("--model={0}/configuration", "config.json is not a readable model configuration."),
    ("--model={0}/layers", "asks for num_hidden_layers = 1000000, more than 1000."),
    ("--model={0}/mine.gguf", "mine.gguf cannot be read as GGUF"),
    ("--model={0}/notes.txt", "notes.txt is no model."),
    ("--model={0}/adapter", "There is no model"),
    ("--model={0}/empty-adapter", "has no weights (adapter_model*.safetensors)."),
    ("--set=model.device=mps", "This machine has no usable mps device."),
    ("--set=model.device=spread --set=model.weights=8bit", "needs bitsandbytes and a GPU"),
]
SETTINGS = [
    ("--method=sure --set=unlearn.weight_decay=0.1", "weight decay would move the rest as well."),
    ("--method=never-taught --set=teach.enabled=false", "follows a model that was never taught"),
    ("--set=unlearn.result_step=99", "unlearning makes at most 2 steps."),
    ("--region=layers:2-9", "The region begins at layer 2, and the model has 2, from 0 to 1."),
    ("--region=late:3", "There are 2 layers, fewer than 3."),
    ("--model=bundled --region=modules:q_prj", "There is no module “q_prj”. Did you mean “q_proj”?"),
    ("--model=bundled --region=cells:model.layers.0.nothing", "There is no tensor"),
    ("--preset=this-machine --set=region.mu=-0.5", "Quantiles lie between 0 and 1."),
    ("--set=teach.from_run=nothing", "There is no run “nothing”."),
    ("--set=teach.from_run=privacy-memflex", "The run privacy-memflex has another model."),
]


def refused(place: Path, verb: str, *arguments: str) -> str:
    """Return the one line with which a command is refused; nothing is left in the folder of runs."""
    usual = ["--model", str(place / "model"), "--data", str(place / "data"), "--runs", str(place / "runs")]
    done = command(verb, *usual, *(f"--set={key}={value}" for key, value in QUICK.items()), *arguments)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not list(place.glob("runs/**/*"))
    return done.stderr.strip()


@pytest.mark.parametrize(("arguments", "says"), [*DATA, *MODELS, *SETTINGS])
def test_a_run_is_refused_while_somebody_else_has_the_device(held: Run, place: Path, arguments: str, says: str) -> None:
    assert says in refused(place, "run", *shlex.split(arguments.format(place)))


def test_a_run_that_has_not_ended_cannot_be_gone_on_from(held: Run, place: Path) -> None:
    config = quick(place / "model", place / "data")
    earlier = store.create(config, place / "elsewhere")
    with pytest.raises(UserError, match=r"has no unlearned model yet\. Wait until"):
        admission.check(config.with_setting("teach.from_run", earlier.id), place / "elsewhere")
    (earlier.path / "before").mkdir()
    (earlier.path / "after").mkdir()
    (earlier.path / "after" / "region.safetensors").touch()
    with pytest.raises(UserError, match=r"has not ended well\. Resume it"):
        admission.check(config.with_setting("teach.from_run", earlier.id), place / "elsewhere")


def test_what_fits_is_not_refused(place: Path) -> None:
    base = quick(place / "model", place / "data")
    for region in ("layers:1-1", "layers:0-", "late:2", "late:50%", "modules:anything", "cells:anything", "all"):
        rule = regions.parse(region, base.region)
        admission.check(base.with_setting("region", rule), place / "runs")
    admission.check(base.with_setting("model.name", "somebody/private"), place / "runs")
    admission.check(preset("this-machine").with_setting("data.source", "knowundo"), place / "runs")


def test_a_full_disk_and_a_small_machine(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2e9, 1.999e9, 1e6))
    says = r"has 1\.0 MB free; an adapter of this run alone takes 4\.9 MB\. Free space or choose another --runs folder\."
    with pytest.raises(UserError, match=says):
        admission.check(preset("this-machine"), place / "runs")
    monkeypatch.undo()
    monkeypatch.setenv("FORGETSCOPE_MEMORY_LIMIT", "0.5e9")
    with pytest.raises(TooBig, match=r"needs about \d\.\d GB as \w+; this machine has 0\.5 GB"):
        admission.check(preset("this-machine"), place / "runs")
    admission.check(preset("this-machine"), place / "runs", here=False)  # a node of a cluster may be larger


def test_the_bundled_models_numbers_are_those_of_its_localization() -> None:
    table = pd.read_parquet(store.bundled_runs()[0].path / "localization.parquet")
    rank = store.bundled_runs()[0].config().teach.rank
    assert table["layer"].nunique() == model_memory.LAYERS["bundled"]
    assert (table["rows"] * table["columns"]).sum() == rank * model_memory.SIDES["bundled"]
    taught = (store.bundled_runs()[0].path / "before" / "adapter_model.safetensors").stat().st_size
    assert model_memory.adapter_bytes("bundled", rank) == pytest.approx(taught, rel=0.05)


def test_layers_and_adapters_follow_from_the_heads_of_the_weights(place: Path) -> None:
    assert model_memory.layer_count(str(place / "model")) == 2
    assert model_memory.adapter_bytes(str(place / "model"), 4) == 4 * 2 * (2 * (8 + 16))
    assert model_memory.parameter_count(str(place / "model")) == 2 * 8 * 16
    assert model_memory.layer_count("somebody/private") is None


# -- sweeps and everything else that waits ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sweep", "--seeds", "0,1", "--data", "{0}/columns.csv"], "has no column “scope”"),
        (["sweep", "--region", "located,layers:2-9"], "The region begins at layer 2"),
        (
            ["sweep", "--method", "memflex,sure", "--set", "unlearn.weight_decay=0.1", "--set", "unlearn.slots=0"],
            "weight decay would move the rest",
        ),
        (["sweep", "--tune", "--trials", "2", "--model", "{0}/damaged"], "are damaged"),
        (["requests", "--subjects", "Orla Venning,Nobody"], "There is no subject “Nobody”."),
    ],
)
def test_a_sweep_is_refused_before_its_first_run(held: Run, place: Path, arguments: list[str], says: str) -> None:
    verb, *rest = (argument.format(place) for argument in arguments)
    assert says in refused(place, verb, *rest)


def test_what_is_resumed_is_looked_at_again(held: Run, place: Path) -> None:
    config = quick(place / "model", place / "good.csv")
    run = store.create(config, place / "runs")
    members = [Member(config.with_setting("seed", seed), {"seed": seed}) for seed in (0, 1)]
    sweep = sweep_.create("grid", "many", {}, members, place / "runs")
    for path in (run.path, sweep.path):
        files.write_json(path / "status.json", {**json.loads((path / "status.json").read_text()), "state": "cancelled"})
    (place / "good.csv").unlink()
    for verb, name in (("run", run.id), ("sweep", sweep.id)):
        done = command(verb, "--resume", name, "--runs", str(place / "runs"))
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "There is no data at" in done.stderr
    assert run.status()["state"] == sweep.as_run.status()["state"] == "cancelled"


def test_requests_that_go_on_from_each_other_can_be_resumed(place: Path) -> None:
    first = quick(place / "model", place / "data")
    members = [Member(first.with_setting("data.forget", (name,)), {}) for name in ("Orla Venning", "Pavel Drost")]
    sweep = sweep_.create("requests", "one by one", {}, members, place / "runs")
    one, two = sweep_.members(sweep)
    files.write_json(two.path / "config.json", two.config().with_setting("teach.from_run", one.id).to_json())
    status = json.loads((sweep.path / "status.json").read_text())
    files.write_json(sweep.path / "status.json", {**status, "state": "cancelled"})
    sweep_.reopen(sweep)  # the first has not ended: it will have, when it is the second one's turn
    assert sweep.as_run.status()["state"] == "queued"


def test_jobs_on_a_run_whose_model_is_gone_are_refused(held: Run, place: Path) -> None:
    run = store.create(quick(place / "gone", place / "data"), place / "runs")
    with pytest.raises(UserError, match="There is no model"):
        lifecycle.begin("probes", Run(place / "runs" / ".probes" / run.id), run.config(), {})
    assert not (place / "runs" / ".probes").exists()


def test_an_audit_looks_at_both_models(held: Run, place: Path) -> None:
    done = command(
        "audit",
        *("--before", str(place / "model"), "--after", str(place / "damaged")),
        *("--data", str(place / "data"), "--runs", str(place / "runs")),
    )
    assert done.returncode == 1
    assert "are damaged" in done.stderr
    assert not (place / "runs").exists()


def test_code_of_its_own_is_allowed_to_the_base_of_an_audits_adapter(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGETSCOPE_CACHE", str(place / "cache"))
    adapter, base = str(place / "adapter"), str(place / "model")
    files.write_json(place / "adapter" / "adapter_config.json", {"base_model_name_or_path": base})
    audited = dataclasses.replace(quick(place / "model", place / "data"), audit=AuditConfig(adapter, adapter))
    asks = audited.with_setting("model.trust_remote_code", True)
    with pytest.raises(UserError, match="never allowed on this machine"):
        admission.check(asks, place / "runs")
    admission.check(trust.given(audited, True), place / "runs")


def test_examples_of_many_runs_are_read_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    load: Callable[..., object] = sources.load
    monkeypatch.setattr(sources, "load", lambda data, seed: read.append(seed) or load(data, seed))
    base = quick(place / "model", place / "data")
    admission.check_all([base.with_setting("unlearn.steps", steps) for steps in range(1, 30)], place / "runs")
    assert read == [0]
