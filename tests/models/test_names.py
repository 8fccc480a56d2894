"""Which base an adapter was made for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.models import names
from core.pipeline.setup import set_up
from core.runs import store
from tests.naive import Recorder, make_bench
from tests.pipeline.test_pipeline import small


def adapter(folder: Path, base: str, card: str | None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}), encoding="utf-8")
    if card is not None:
        (folder / "README.md").write_text(card, encoding="utf-8")
    return folder


def card(base: str) -> str:
    return f"---\nbase_model: {base}\nlibrary_name: peft\n---\n\n# Card\n"


@pytest.mark.parametrize("trained", ["acme/other-7b", "bundled", '"acme/other-7b"'])
def test_another_base_on_the_card_is_a_finding(tmp_path: Path, trained: str) -> None:
    sentence = names.finding(adapter(tmp_path / "mine", "acme/model-7b", card(trained)))
    assert "acme/model-7b" in sentence
    assert f"made for {trained.strip(chr(34))}." in sentence


@pytest.mark.parametrize(
    ("base", "text"),
    [
        ("acme/model-7b", card("acme/model-7b")),
        ("acme/model-7b", card("Acme/Model-7B")),
        ("acme/model-7b", None),
        ("acme/model-7b", "# No head\nbase_model: acme/other\n"),
        ("acme/model-7b", "---\nlibrary_name: peft\n---\n"),
        ("acme/model-7b", "---\nbase_model:\n- acme/one\n- acme/two\n---\n"),
        ("acme/model-7b", card("/disk/other-7b")),
        ("/disk/model-7b", card("acme/other-7b")),
    ],
)
def test_what_is_equal_or_unknown_is_none(tmp_path: Path, base: str, text: str | None) -> None:
    assert names.finding(adapter(tmp_path / "mine", base, text)) == ""


def test_run_reports_it_and_goes_on(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(tiny_llama, tiny_data)
    bench.adapters.save("before", tmp_path / "mine", "acme/model-7b")
    resolve = names.resolve
    monkeypatch.setattr(names, "resolve", lambda name: resolve(str(tiny_llama) if name == "acme/model-7b" else name))
    (tmp_path / "mine" / "README.md").write_text(card("acme/other-7b"), encoding="utf-8")
    config, report = small(tmp_path / "mine", tiny_data), Recorder()
    set_up(store.create(config, tmp_path / "runs"), config, tmp_path / "runs", report)
    assert any("made for acme/other-7b" in values.get("text", "") for kind, values in report.events if kind == "finding")
