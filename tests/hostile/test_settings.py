"""Every hostile setting, name and request is refused with a sentence where it comes in, or is only a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core import regions
from core.cli import terminal
from core.cli.main import parser
from core.config.run_config import RunConfig
from core.config.stages import DataConfig, ModelConfig
from core.data import sources
from core.models import loading, names
from core.runs import store, voices
from core.serve import messages
from core.util.errors import UserError
from tests.hostile import settings
from tests.hostile.harness import Around, calm


@pytest.fixture
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Around:
    made = Around.make(tmp_path)
    monkeypatch.setenv("FORGETSCOPE_CACHE", str(made.folder / "cache"))
    monkeypatch.setenv("FORGETSCOPE_RUNS", str(made.folder / "runs"))
    return made


def of_command_line(*arguments: str) -> RunConfig:
    """Return the configuration that a command line makes."""
    return terminal.configured(parser().parse_args(["run", *arguments]))


def made(config: RunConfig, around: Around) -> Any:
    """Make a run of it, which gives it a folder and a file."""
    run = store.create(config, around.folder / "runs")
    assert run.path.parent == around.folder / "runs"
    assert run.config() == config.with_setting("name", run.config().name)
    return run


@pytest.mark.parametrize("case", list(settings.FILES))
def test_a_configuration_file(case: str, around: Around) -> None:
    content, word = settings.FILES[case]
    path = around.folder / "c.json"
    path.write_bytes(content)
    calm(lambda: made(of_command_line("--config", str(path)), around), word, around)


@pytest.mark.parametrize("case", list(settings.SET))
def test_a_setting(case: str, around: Around) -> None:
    value, word = settings.SET[case]
    calm(lambda: made(of_command_line("--set", value), around), word, around)


@pytest.mark.parametrize("case", list(settings.MODELS))
def test_the_name_of_a_model(case: str, around: Around) -> None:
    name, word = settings.MODELS[case]
    calm(lambda: names.resolve(name), word, around)


@pytest.mark.parametrize("case", list(settings.DATA))
def test_the_name_of_data(case: str, around: Around) -> None:
    source, subset, word = settings.DATA[case]
    calm(lambda: sources.load(DataConfig(source=source, subset=subset)), word, around)


@pytest.mark.parametrize("case", list(settings.REGIONS))
def test_a_region(case: str, around: Around) -> None:
    text, word = settings.REGIONS[case]
    calm(lambda: regions.parse(text, RunConfig().region), word, around)
    if text:
        calm(lambda: made(of_command_line("--region", text), around), word, around)


@pytest.mark.parametrize("case", list(settings.METHODS))
def test_a_method(case: str, around: Around) -> None:
    name, word = settings.METHODS[case]
    calm(lambda: of_command_line("--method", name), word, around)


@pytest.mark.parametrize("case", list(settings.VOICES))
def test_a_voice(case: str, around: Around) -> None:
    text, word = settings.VOICES[case]
    calm(lambda: voices.parse(text), word, around)


@pytest.mark.parametrize("case", list(settings.RUNS))
def test_the_name_of_a_run(case: str, around: Around, monkeypatch: pytest.MonkeyPatch) -> None:
    name = settings.RUNS[case]
    monkeypatch.chdir(around.folder)
    calm(lambda: store.find(name, around.folder / "runs"), "no run", around)
    calm(lambda: store.by_id(name, around.folder / "runs"), "no run", around)


@pytest.mark.parametrize("case", list(settings.REQUESTS))
def test_a_request(case: str, around: Around) -> None:
    values, word = settings.REQUESTS[case]
    calm(lambda: messages.read(values), word, around)


def test_only_the_flag_lets_a_model_run_its_code(around: Around) -> None:
    """A wish in a file counts for nothing; the flag counts for the model that it was given for."""
    wish = RunConfig().with_setting("model.name", "org/one").with_setting("model.trust_remote_code", True)
    with pytest.raises(UserError, match="never allowed"):
        loading.load(wish.model)
    assert of_command_line("--model", "org/one", "--trust-remote-code").model == wish.model
    from core.config import trust

    trust.check(wish.model)
    with pytest.raises(UserError, match="never allowed"):
        trust.check(ModelConfig(name="org/two", trust_remote_code=True))
