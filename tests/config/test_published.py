"""The published settings: every value has its line, the lines say it, and one's own differences are found."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from core.cli import grid
from core.cli.main import main, parser
from core.cli.terminal import configured
from core.config import published
from core.config.run_config import flat, from_json, preset, with_method
from core.regions import PUBLISHED
from core.util.paths import ASSETS, ROOT

CLONE = Path(os.environ.get("FORGETSCOPE_KNOWUNDO") or ROOT.parent / "KnowUnDo")
"""a clone of the released code, for the second reading"""
BOTH = [(name, method) for name in published.PRESETS for method in ("memflex", *published.BASELINES)]


def line(file: str, number: int) -> str:
    """Return a line of the released code, at the commit that is named."""
    asked = ["git", "-C", str(CLONE), "show", f"{published.COMMIT}:{file}"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[number - 1]


@pytest.mark.parametrize(("name", "method"), BOTH)
def test_every_value_of_a_published_preset_has_its_source(name: str, method: str) -> None:
    config, usual = (flat(c.to_json()) for c in (with_method(preset(name), method), preset("this-machine")))
    sourced = {place for path in published.values(name, method) for place in published.places(path)}
    assert {path for path, value in config.items() if value != usual.get(path)} - sourced == {"preset"}
    for value in published.values(name, method).values():
        assert value.lines or published.PAPER in value.source, value.path


@pytest.mark.parametrize(("name", "method"), BOTH)
def test_a_second_reading_finds_each_value_in_its_line(name: str, method: str) -> None:
    if not (CLONE / "HEAD").is_file() and not (CLONE / ".git").exists():
        pytest.skip(f"no clone of {published.REPOSITORY} at {CLONE}: name one in FORGETSCOPE_KNOWUNDO")
    for value in published.values(name, method).values():
        for file, number, text in value.lines:
            assert text in line(file, number), (value.path, file, number)


def test_disagreements_name_lines_that_exist() -> None:
    if not (CLONE / "HEAD").is_file() and not (CLONE / ".git").exists():
        pytest.skip(f"no clone of {published.REPOSITORY} at {CLONE}: name one in FORGETSCOPE_KNOWUNDO")
    for each in published.DISAGREEMENTS:
        for place in each.source.split(", "):
            file, _, number = place.rpartition(":")
            assert line(file, int(number)).strip(), place


def test_the_presets_are_what_the_issue_asks_for() -> None:
    config = preset("paper/qwen1.5-copyright")
    assert (config.model.name, config.data.source, config.data.subset) == ("Qwen/Qwen1.5-7B-Chat", "knowundo", "copyright")
    assert config.region.limits(None) == PUBLISHED["qwen1.5-7b", "copyright"] == (0.94, 7e-4)  # type: ignore[attr-defined,arg-type]
    assert (config.teach.epochs, config.teach.learning_rate, config.unlearn.learning_rate) == (20, 3e-4, 3e-4)
    assert config.unlearn.course(400, 441).steps == 100
    baseline = with_method(config, "ga-kl-id")
    assert (baseline.teach.epochs, baseline.teach.learning_rate, baseline.unlearn.learning_rate) == (10, 1e-4, 5e-5)
    assert baseline.region.name == "all"
    assert baseline.evaluate.preface.startswith("You are a copyright-sensitive assistant.")
    assert not config.evaluate.preface
    assert with_method(config, "npo").region == config.region  # the paper has no such baseline


def test_a_baseline_on_the_command_line_has_its_own_settings_and_what_is_set_has_the_last_word() -> None:
    read = parser().parse_args
    words = ["run", "--preset", "paper/llama2-privacy", "--method", "gradient-ascent", "--set", "unlearn.learning_rate=1e-5"]
    config = configured(read(words))
    assert (config.region.name, config.unlearn.learning_rate, config.teach.epochs) == ("all", 1e-5, 10)
    assert configured(read([*words, "--region", "located"])).region.name == "located"


def test_what_a_file_says_stays_as_it_is(tmp_path: Path) -> None:
    own = with_method(preset("paper/llama2-privacy"), "ga-kl-id").with_setting("unlearn.learning_rate", 1e-5)
    assert with_method(own, "ga-kl-id") == own
    own.save(tmp_path / "own.json")
    words = ["run", "--config", str(tmp_path / "own.json"), "--method"]
    for method in ("ga-kl-id", "gradient-ascent"):
        assert configured(parser().parse_args([*words, method])).unlearn.learning_rate == 1e-5


def test_a_baseline_in_a_sweep_has_its_own_settings_and_the_region_that_is_asked_for() -> None:
    axes = grid.Axes(methods=["memflex", "gradient-ascent"], regions=["random"])
    made = {c.unlearn.method.name: c for c, _ in grid.expand(preset("paper/llama2-privacy"), axes)}
    assert {name: (c.region.name, c.unlearn.learning_rate) for name, c in made.items()} == {
        "memflex": ("random", 3e-4),
        "gradient-ascent": ("random", 5e-5),
    }


def test_own_differences_are_found() -> None:
    name = "paper/llama2-privacy"
    assert published.differing(name, flat(preset(name).to_json())) == []
    for method in published.BASELINES:
        assert published.differing(name, flat(with_method(preset(name), method).to_json())) == []
    own = preset(name).with_setting("teach.dropout", 0).with_setting("unlearn.forget_weight", 1)
    assert published.differing(name, flat(from_json(own.to_json()).to_json())) == [
        ("teach.dropout", 0.1, 0.0),
        ("unlearn.forget_weight", 0.4, 1.0),
    ]


def test_a_preset_is_shown_with_its_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "--show", "paper/llama2-privacy", "--method", "ga-kl-id", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    rate = next(row for row in shown["settings"] if row["setting"] == "unlearn.learning_rate")
    assert (rate["value"], rate["source"]) == (5e-5, "llm_unlearn/run_baselines_lora.sh:31")
    assert shown["here_otherwise"]
    assert shown["disagreements"]
    assert main(["presets"]) == 0
    assert "paper/qwen1.5-copyright" in capsys.readouterr().out
    assert main(["presets", "--show", "papr"]) == 1


def test_the_tables_of_scores_have_presets_and_the_document_has_every_disagreement() -> None:
    tables = json.loads((ASSETS / "published.json").read_text(encoding="utf-8"))["tables"]
    assert dict.fromkeys(tables) == dict.fromkeys(published.TABLES)
    assert {*published.TABLES.values()} == {*published.PRESETS}
    text = (ASSETS / "docs" / "methods.md").read_text(encoding="utf-8")
    for each in published.DISAGREEMENTS:
        assert f"| {each.what} | {each.paper or '–'} | {each.code} |" in text
    for sentence in published.OWN:
        assert sentence in text
