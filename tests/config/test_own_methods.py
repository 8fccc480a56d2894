"""A method from a file of the user's own: it works, and what is merely read never runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from core.cli import grid
from core.config import own_methods, run_config
from core.config.run_config import RunConfig
from core.jobs import lifecycle
from core.methods.memflex import MemFlex
from core.methods.own import OwnMethod
from core.runs import archive, store
from core.runs.overview import overview
from core.util import files
from core.util.errors import UserError
from tests.processes import command, quick

METHODS = Path(__file__).resolve().parents[2] / "assets" / "docs" / "methods.md"
SOURCE = """
from dataclasses import dataclass
from pathlib import Path
from core.methods import Method
from core.settings import setting

Path({marker!r}).touch()

@dataclass(frozen=True)
class Mine(Method):
    weight: float = setting(1.0, "a weight", low=0.0, high=5.0)

    def loss(self, context):
        return context.retain.loss().mean() - self.weight * context.forget.loss().mean()

class Other:
    pass
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the list of trusted files apart from the user's."""
    monkeypatch.setenv("FORGETSCOPE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """Return the file that appears when the method's code runs."""
    return tmp_path / "it-ran"


@pytest.fixture
def file(tmp_path: Path, marker: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE.format(marker=str(marker)), encoding="utf-8")
    return path


def mine(file: Path) -> OwnMethod:
    method = own_methods.named(f"{file}:Mine")
    assert method is not None
    return method


def example() -> str:
    """Return the code of the document's section."""
    section = METHODS.read_text(encoding="utf-8").partition("## Your own method")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]


# -- naming, keeping, finding


def test_a_named_file_becomes_the_method(file: Path, marker: Path) -> None:
    method = mine(file)
    assert not marker.exists()
    method_itself = own_methods.resolved(method)
    assert marker.exists()
    assert (method_itself.label, method_itself.weight) == ("Mine", 1.0)  # type: ignore[attr-defined]
    assert own_methods.resolved(MemFlex()) == MemFlex()
    assert own_methods.named("memflex") is None


def test_its_settings_are_set_and_checked_as_all_others(file: Path) -> None:
    start = RunConfig().with_setting("unlearn.method", mine(file))
    good = start.with_setting("unlearn.weight", "2.5").with_setting("unlearn.steps", "7")
    assert own_methods.resolved(good.unlearn.method).weight == 2.5  # type: ignore[attr-defined]
    assert good.unlearn.steps == 7
    with pytest.raises(UserError, match="outside its range"):
        own_methods.resolved(start.with_setting("unlearn.weight", "9").unlearn.method)
    with pytest.raises(UserError, match="Did you mean “weight”"):
        own_methods.resolved(start.with_setting("unlearn.wieght", "1").unlearn.method)


def test_a_configuration_goes_to_json_and_back_without_running_anything(file: Path, marker: Path, tmp_path: Path) -> None:
    chosen = RunConfig().with_setting("unlearn.method", mine(file)).with_setting("unlearn.weight", "2")
    chosen.save(tmp_path / "config.json")
    assert run_config.load(tmp_path / "config.json") == chosen
    run = store.create(chosen, tmp_path / "runs")
    assert overview(run).method == "Mine (mine.py)"
    assert "mine-mine-py" in run.id
    assert not marker.exists()


def test_a_changed_file_is_another_method(file: Path) -> None:
    before = mine(file)
    file.write_text(file.read_text(encoding="utf-8").replace("1.0", "3.0"), encoding="utf-8")
    after = mine(file)
    assert before.sha256 != after.sha256
    assert own_methods.resolved(before).weight == 1.0  # type: ignore[attr-defined]
    assert own_methods.resolved(after).weight == 3.0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{file}:Mein", "Did you mean “Mine”"),
        ("{file}", "names no class"),
        ("{folder}/nothing.py:Mine", "There is no file"),
        ("{folder}/broken.py:Mine", "not a readable Python file"),
    ],
)
def test_a_wrong_name_is_one_sentence(file: Path, text: str, match: str) -> None:
    (file.parent / "broken.py").write_text("class Mine(:", encoding="utf-8")
    with pytest.raises(UserError, match=match):
        own_methods.named(text.format(file=file, folder=file.parent))


def test_the_command_line_says_it_too(file: Path) -> None:
    done = command("run", "--method", f"{file}:Mein")
    assert done.returncode == 1
    assert "Did you mean “Mine”" in done.stderr


@pytest.mark.parametrize(
    ("source", "kind", "match"),
    [
        (SOURCE, "Other", "is no method"),
        ("class Mine: pass\nraise ValueError('no')\n", "Mine", "cannot be imported .ValueError: no"),
        ("from core.methods import Method\nclass Mine(Method):\n  def __init__(self, a): pass\n", "Mine", "cannot be made"),
    ],
)
def test_a_file_that_is_no_method_is_one_sentence(tmp_path: Path, marker: Path, source: str, kind: str, match: str) -> None:
    path = tmp_path / "other.py"
    path.write_text(source.format(marker=str(marker)), encoding="utf-8")
    method = own_methods.named(f"{path}:{kind}")
    assert method is not None
    with pytest.raises(UserError, match=match):
        own_methods.resolved(method)


# -- what was never named here


@pytest.mark.parametrize("sha", ["0" * 64, "../../../mine", "", "x", "{real}"])
def test_code_that_was_never_named_here_is_not_run(
    file: Path, marker: Path, sha: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = mine(file)
    monkeypatch.setenv("FORGETSCOPE_CACHE", str(tmp_path / "another-machine"))
    foreign = OwnMethod(file=str(file), kind="Mine", sha256=sha.format(real=real.sha256))
    with pytest.raises(UserError, match="never named on this machine"):
        own_methods.resolved(foreign)
    assert not marker.exists()


def test_a_trusted_copy_that_was_changed_is_not_run(file: Path, marker: Path, tmp_path: Path) -> None:
    method = mine(file)
    (tmp_path / "cache" / "trusted-methods" / f"{method.sha256}.py").write_text("raise SystemExit", encoding="utf-8")
    with pytest.raises(UserError, match="never named"):
        own_methods.resolved(method)


def test_an_imported_run_with_an_own_method_never_executes(
    file: Path, marker: Path, tmp_path: Path, tiny_llama: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = quick(tiny_llama, tiny_data).with_setting("unlearn.method", mine(file))
    run = store.create(chosen, tmp_path / "theirs")
    own_methods.record(chosen.unlearn.method, run.path)
    files.write_json(run.path / "status.json", {**store.fresh_status(), "state": "failed"})
    packed = archive.export([run], tmp_path / "run.zip")
    monkeypatch.setenv("FORGETSCOPE_CACHE", str(tmp_path / "another-machine"))
    taken = archive.import_(packed, tmp_path / "ours")[0]
    assert taken.config() == run.config()
    assert "class Mine(Method)" in taken.json("method.json")["source"]
    with pytest.raises(UserError, match="never named on this machine"):
        lifecycle.resume(taken)
    files.write_json(taken.path / "status.json", store.fresh_status())
    lifecycle.start("run", taken)  # the worker does not rely on that
    events = list(lifecycle.follow(taken))
    assert events[-1]["state"] == "failed"
    assert "never named on this machine" in taken.status()["error"]
    assert "--method FILE.py:Mine" in taken.status()["fix"]
    assert not marker.exists()


# -- the document's example


def test_the_documents_example_runs(tmp_path: Path, tiny_llama: Path, tiny_data: Path) -> None:
    code = example()
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    path = tmp_path / "gentle.py"
    path.write_text(code, encoding="utf-8")
    method = own_methods.named(f"{path}:Gentle")
    chosen = quick(tiny_llama, tiny_data).with_setting("unlearn.method", method).with_setting("unlearn.forget_weight", "2")
    path.unlink()  # the run has its own copy
    run = lifecycle.submit(chosen, tmp_path / "runs")
    list(lifecycle.follow(run))
    assert run.status()["state"] == "done", run.status()
    kept = run.json("method.json")
    assert kept["source"] == code
    assert kept["class"] == "Gentle"
    assert json.loads(run.config().unlearn.method.settings) == {"forget_weight": "2"}  # type: ignore[attr-defined]
    assert run.json("unlearn.json")["curve"]


def test_a_sweep_takes_own_methods_beside_the_others(file: Path) -> None:
    methods = [own_methods.named(name) or name for name in ("memflex", f"{file}:Mine")]
    axes = grid.Axes(methods=methods, seeds=[0, 1], settings={"unlearn.steps": [3]})
    made = grid.expand(RunConfig(), axes)
    assert [where["method"] for _, where in made] == ["memflex", "Mine (mine.py)"] * 2
    assert made[1][0].unlearn.method == mine(file)
    assert all(chosen.unlearn.steps == 3 for chosen, _ in made)
