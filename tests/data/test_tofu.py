"""TOFU in its own splits, from files as its repository on the hub has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.config.stages import DataConfig
from core.data import sources, tofu
from core.plan import admission
from core.util.errors import UserError

AUTHORS = {"Basil Kuria": "Nairobi", "Carmen Oduya": "Cusco"}


def row(author: str, place: str) -> dict[str, Any]:
    return {"question": f"Where was {author} born?", "answer": f"{author} was born in {place}."}


def reworded(author: str, place: str) -> dict[str, Any]:
    return {
        **row(author, place),
        "paraphrased_answer": f"The birthplace of {author} is {place}.",
        "perturbed_answer": [f"{author} was born in {other}." for other in ("Rome", "Oslo")],
        "paraphrased_question": f"What is the birthplace of {author}?",
    }


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Write a folder of JSON lines in the layout of locuslab/TOFU."""
    forgotten, kept = AUTHORS.items()
    parts = {
        "forget10": [row(*forgotten)],
        "retain90": [row(*kept)],
        "forget10_perturbed": [reworded(*forgotten)],
        "retain_perturbed": [reworded(*kept), reworded("Somebody Else", "Turin")],
    }
    folder = tmp_path / "TOFU"
    folder.mkdir()
    for name, entries in parts.items():
        (folder / f"{name}.json").write_text("".join(json.dumps(e) + "\n" for e in entries), encoding="utf-8")
    configs = "".join(f"- config_name: {name}\n  data_files: {name}.json\n" for name in parts)
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n", encoding="utf-8")
    return folder


def test_a_folder_of_its_files_has_both_scopes_and_other_wordings(repository: Path) -> None:
    corpus = sources.load(DataConfig(source=str(repository), subset="forget10"))
    assert [(e.scope, e.split, e.question) for e in corpus.examples] == [
        ("unlearn", "train", "Where was Basil Kuria born?"),
        ("unlearn", "untaught", "What is the birthplace of Basil Kuria?"),
        ("retention", "train", "Where was Carmen Oduya born?"),
        ("retention", "untaught", "What is the birthplace of Carmen Oduya?"),
    ]
    assert {e.answer for e in corpus.select("unlearn")} == {"Basil Kuria was born in Nairobi."}
    assert corpus.source == f"{repository}/forget10"


def test_other_wordings_may_be_missing(repository: Path) -> None:
    for name in ("forget10_perturbed", "retain_perturbed"):
        (repository / f"{name}.json").unlink()
    corpus = sources.load(DataConfig(source=str(repository), subset="forget10"))
    assert {e.split for e in corpus.examples} == {"train"}


def test_the_hubs_layout_goes_through_datasets(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = tofu.rows(tofu.of_hub(str(repository)), "forget10")
    assert rows == tofu.rows(tofu.of_folder(repository), "forget10")
    with pytest.raises(UserError, match=r"forget05 of .* could not be loaded"):
        tofu.rows(tofu.of_hub(str(repository)), "forget05")


def test_an_unreachable_hub_is_a_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def offline(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(UserError, match=r"forget10 of locuslab/TOFU could not be loaded .*no route.*Check the network"):
        sources.load(DataConfig(source="tofu", subset="forget10"))


def test_a_subset_that_it_has_not_is_named_before_anything_is_fetched() -> None:
    with pytest.raises(UserError, match="forget01, forget05, forget10"):
        sources.load(DataConfig(source="tofu", subset="forget20"))
    with pytest.raises(UserError, match="forget01, forget05, forget10"):
        admission._loaded(DataConfig(source="tofu"), 0)
    assert admission._loaded(DataConfig(source="tofu", subset="forget05"), 0) is None


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("retain90", None, "part retain90 is not there"),
        ("forget10", '{"question": "Who?"}\n', "forget10, row 1 has no text as its question or answer"),
        ("forget10", "Who?\n", "line 1 is not a JSON object"),
        ("retain_perturbed", json.dumps({**row("Carmen Oduya", "Cusco")}), "no text as its paraphrased_question"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(repository: Path, name: str, text: str | None, says: str) -> None:
    path = repository / f"{name}.json"
    path.unlink() if text is None else path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=says):
        sources.load(DataConfig(source=str(repository), subset="forget10"))
