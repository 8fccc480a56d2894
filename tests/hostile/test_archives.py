"""Every hostile archive is refused whole, with a sentence; a harmless one lands in the runs folder and nowhere else."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from core.runs import archive
from tests.hostile import archives
from tests.hostile.harness import Around, calm

NAME = "\x1b[2J<b>\u202epiz"
"""of the file that is uploaded"""


def taken(data: bytes, word: str, tmp_path: Path) -> None:
    around = Around.make(tmp_path)
    folder = around.folder / "runs"
    runs = calm(lambda: archive.import_(io.BytesIO(data), folder, NAME), word, around)
    if runs is None:
        assert list(folder.iterdir()) == []
        return
    for path in folder.rglob("*"):
        assert path.is_dir() or path.is_file()
        assert not path.is_symlink()
        assert path.is_dir() or not path.stat().st_mode & 0o7111
    status = runs[0].status()
    assert status["state"] in ("done", "cancelled")
    assert all(0 <= status[key] < 4e9 for key in ("created", "began", "ended") if key in status)
    assert not runs[0].config().model.trust_remote_code


@pytest.mark.parametrize("case", list(archives.ZIPS))
def test_an_archive(case: str, tmp_path: Path) -> None:
    make, word = archives.ZIPS[case]
    taken(make(), word, tmp_path)


@pytest.mark.parametrize("case", list(archives.SAFETENSORS))
def test_an_archive_with_tensors(case: str, tmp_path: Path) -> None:
    data, word = archives.SAFETENSORS[case]
    taken(archives.forged({"before/adapter_model.safetensors": data}, how=zipfile.ZIP_STORED), word, tmp_path)
