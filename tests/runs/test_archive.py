"""Archives: there and back without loss, and every kind of hostile one refused with a sentence."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from core.runs import archive, labels, store
from core.runs.store import Run
from core.util import files as files_
from core.util.errors import UserError
from tests.processes import command, last_json

Forge = Callable[..., Path]
ID = "20260101-000000-mine-abcd"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return archive.export([store.bundled_runs()[0]], tmp_path / "run.zip")


def small_run() -> dict[str, bytes]:
    bundled = store.bundled_runs()[0]
    return {name: (bundled.path / name).read_bytes() for name in ("config.json", "status.json", "region.json")}


def listing(files: dict[str, bytes], run: str = ID, **more: Any) -> bytes:
    facts = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in files.items()}
    return json.dumps({"format": 1, "kind": archive.KIND, "runs": [{"id": run, "files": facts}], **more}).encode()


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    """Return a function that writes an archive by hand: a sound small run, plus what a test does to it."""

    def make(
        add: dict[str, bytes] | None = None,
        change: Callable[[zipfile.ZipFile], None] | None = None,
        head: bytes | None = None,
        how: int = zipfile.ZIP_DEFLATED,
        run: str = ID,
        **more: Any,
    ) -> Path:
        files = small_run() | (add or {})
        path = tmp_path / "forged.zip"
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w", how) as made:
            warnings.simplefilter("ignore")  # duplicates
            for name, data in files.items():
                made.writestr(f"{run}/{name}", data)
            made.writestr(archive.LIST, listing(files, run, **more) if head is None else head)
            if change:
                change(made)
        return path

    return make


def refuses(path: Path, folder: Path, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        archive.import_(path, folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert list(folder.iterdir()) == []


def test_there_and_back(packed: Path, folder: Path) -> None:
    bundled = store.bundled_runs()[0]
    assert any(path.is_symlink() for path in bundled.path.rglob("*")), "what it has twice, here and there whole"
    run = archive.import_(packed, folder)[0]
    assert not any(path.is_symlink() for path in run.path.rglob("*"))
    assert run.path.parent == folder
    assert run.id == f"{bundled.id}-2"  # the bundled run's own name is taken
    for path in bundled.path.rglob("*"):
        if path.is_file() and path.name != "status.json":
            assert (run.path / path.relative_to(bundled.path)).read_bytes() == path.read_bytes()
    assert run.status()["state"] == "done"
    assert run.status()["stages"] == bundled.status()["stages"]
    note = run.json("imported.json")
    assert (note["archive"], note["run"]) == ("run.zip", bundled.id)
    assert not run.problem()


def test_an_id_that_exists_gets_a_number(packed: Path, folder: Path) -> None:
    ids = [archive.import_(packed, folder)[0].id for _ in range(3)]
    name = store.bundled_runs()[0].id
    assert ids == [f"{name}-2", f"{name}-3", f"{name}-4"]


def test_several_runs_in_one_archive_keep_their_labels(packed: Path, folder: Path, tmp_path: Path) -> None:
    runs = [archive.import_(packed, folder)[0] for _ in range(2)]
    labels.change(runs[0], name="First", tags=("a", "b"))
    both = archive.export(runs, tmp_path / "both.zip")
    other = archive.import_(both, tmp_path / "elsewhere")
    assert [run.id for run in other] == [run.id for run in runs]
    assert labels.read(other[0]) == labels.Label(name="First", tags=("a", "b"))
    assert labels.read(other[1]) == labels.Label()


def test_logs_and_strange_files_stay_at_home(packed: Path, folder: Path, tmp_path: Path) -> None:
    run = archive.import_(packed, folder)[0]
    for name in ("worker.log", "cancel", ".worker.lock", "secret.pt", "notes.txt"):
        (run.path / name).write_text("x")
    (run.path / "link.json").symlink_to("/etc/hostname")
    with zipfile.ZipFile(archive.export([run], tmp_path / "clean.zip")) as made:
        names = {name.partition("/")[2] for name in made.namelist()}
    assert not names & {"worker.log", "cancel", ".worker.lock", "secret.pt", "notes.txt", "link.json", "imported.json"}


def test_the_same_run_gives_the_same_bytes(packed: Path, tmp_path: Path) -> None:
    again = archive.export([store.bundled_runs()[0]], tmp_path / "again.zip")
    assert again.read_bytes() == packed.read_bytes()


def test_an_archive_from_memory_is_read_as_well(packed: Path, folder: Path) -> None:
    run = archive.import_(io.BytesIO(packed.read_bytes()), folder, "upload.zip")[0]
    assert run.json("imported.json")["archive"] == "upload.zip"


def test_living_and_unreadable_runs_are_not_exported(forge: Forge, folder: Path, tmp_path: Path) -> None:
    run = archive.import_(forge(), folder)[0]
    files_.write_json(run.path / "status.json", store.fresh_status())
    with pytest.raises(UserError, match="queued"):
        archive.export([run], tmp_path / "x.zip")
    (run.path / "config.json").write_text("{")
    with pytest.raises(UserError, match="no readable config"):
        archive.export([run], tmp_path / "x.zip")
    with pytest.raises(UserError, match="No run is chosen"):
        archive.export([], tmp_path / "x.zip")
    whole = archive.import_(forge(), folder)[0]
    whole.path.rename(folder / "mine (copy)")
    with pytest.raises(UserError, match="a name that no run has"):
        archive.export([Run(folder / "mine (copy)")], tmp_path / "x.zip")
    with pytest.raises(UserError, match="at most 100"):
        archive.export([Run(folder / f"r{n}") for n in range(101)], tmp_path / "x.zip")
    assert not list(tmp_path.glob("*x.zip*"))


def test_an_imported_run_has_no_process_here(forge: Forge, folder: Path) -> None:
    import os

    import psutil

    status = {
        "state": "running",
        "pid": os.getpid(),
        "host": os.uname().nodename,
        "heartbeat": 1e12,
        "started_process": psutil.Process().create_time(),
        "stages": {"teach": 3},
    }
    run = archive.import_(forge({"status.json": json.dumps(status).encode()}), folder)[0]
    assert run.status()["state"] == "cancelled"
    assert run.status()["pid"] is None
    assert run.status()["stages"] == {}


def test_an_imported_run_may_not_run_foreign_code(forge: Forge, folder: Path) -> None:
    config = json.loads(small_run()["config.json"])
    config["model"]["trust_remote_code"] = True
    run = archive.import_(forge({"config.json": json.dumps(config).encode()}), folder)[0]
    assert run.config().model.trust_remote_code is False
    assert "trust_remote_code" in run.json("imported.json")["changed"][0]


@pytest.mark.parametrize("name", ["../evil.json", "a/../../evil.json", "/etc/evil.json", "C:/evil.json", "a\\..\\evil.json"])
def test_no_path_leaves_the_folder(name: str, forge: Forge, folder: Path) -> None:
    refuses(forge(change=lambda made: made.writestr(name, "{}")), folder, "outside of the run")
    inside = f"{ID}/{name.lstrip('/')}"
    if ".." in name:
        refuses(forge(change=lambda made: made.writestr(inside, "{}")), folder, "outside of the run")


def test_no_run_named_like_a_way_out(forge: Forge, folder: Path) -> None:
    refuses(forge(run=".."), folder, "outside of the run")
    refuses(forge(run=".cache"), folder, "no run has")


def test_no_symbolic_link(forge: Forge, folder: Path) -> None:
    def link(made: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo(f"{ID}/link.json")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        made.writestr(info, "/etc/passwd")

    refuses(forge(change=link), folder, "a link")


def test_no_file_twice(forge: Forge, folder: Path) -> None:
    refuses(forge(change=lambda made: made.writestr(f"{ID}/config.json", "{}")), folder, "twice")
    refuses(forge(change=lambda made: made.writestr(f"{ID}/CONFIG.json", "{}")), folder, "twice")


@pytest.mark.parametrize(
    "name", ["x.pkl", "x.bin", "x.pt", "x.py", "x", ".hidden.json", "a/b/c/d.json", "CON.json", "a b.json", "ä.json"]
)
def test_only_known_kinds_of_files(name: str, forge: Forge, folder: Path) -> None:
    refuses(forge({name: b"{}"}), folder, "no run has")


def test_no_file_named_like_a_folder(forge: Forge, folder: Path) -> None:
    refuses(forge({"a.json": b"{}", "a.json/b.json": b"{}"}), folder, "name of a folder")


def test_no_bomb(forge: Forge, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuses(forge({"big.npz": bytes(50 * 2**20)}), folder, "100 times")
    monkeypatch.setattr(archive, "LARGEST", 1000)
    refuses(forge(), folder, "unpack to more|larger than")
    monkeypatch.undo()
    monkeypatch.setattr(archive, "LARGEST_TEXT", {".json": 10, ".jsonl": 10})
    refuses(forge(), folder, "larger than")
    monkeypatch.undo()
    monkeypatch.setattr(archive, "MOST_FILES", 2)
    refuses(forge(), folder, "more than 2 files")


def test_no_bomb_inside_of_an_array_file(forge: Forge, folder: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("zeros.npy", bytes(100 * 2**20))
    refuses(forge({"detail.npz": inner.getvalue()}, how=zipfile.ZIP_STORED), folder, "too large when unpacked")


def test_no_disk_is_filled(forge: Forge, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    refuses(forge(), folder, "than there is on this disk")


def test_every_hash_is_compared(forge: Forge, folder: Path) -> None:
    files = small_run()
    other = files | {"region.json": files["region.json"].swapcase()}
    refuses(forge(head=listing(other)), folder, "not what its hash says")


def test_the_list_and_the_files_agree(forge: Forge, folder: Path) -> None:
    files = small_run()
    refuses(forge(head=listing(files | {"more.json": b"{}"})), folder, "is missing")
    refuses(forge(change=lambda made: made.writestr(f"{ID}/more.json", "{}")), folder, "not in its list")
    refuses(forge(head=listing(files | {"region.json": b"{}"})), folder, "another size")


@pytest.mark.parametrize(
    ("head", "match"),
    [
        (b"{", "not readable JSON"),
        (b"[" * 100_000, "not readable JSON"),
        (b"[" * 60 + b"]" * 60, "nested"),
        (b"[]", "not that of an exported run"),
        (json.dumps({"format": 1, "kind": archive.KIND, "runs": []}).encode(), "damaged"),
        (json.dumps({"format": 1, "kind": archive.KIND, "runs": [{"id": "..", "files": {}}]}).encode(), "damaged"),
        (json.dumps({"format": "1", "kind": archive.KIND, "runs": [{}]}).encode(), "damaged"),
    ],
)
def test_a_damaged_list_is_refused(head: bytes, match: str, forge: Forge, folder: Path) -> None:
    refuses(forge(head=head), folder, match)


def test_newer_formats_are_refused(forge: Forge, folder: Path) -> None:
    refuses(forge(format=2), folder, "newer than this")
    config = json.loads(small_run()["config.json"]) | {"format": 99}
    refuses(forge({"config.json": json.dumps(config).encode()}), folder, "newer than this")


def test_an_archive_of_something_else_is_refused(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as made:
        made.writestr("run/config.json", "{}")
    refuses(tmp_path / "other.zip", folder, "no exported run")
    (tmp_path / "no.zip").write_bytes(b"PK\x03\x04 nonsense")
    refuses(tmp_path / "no.zip", folder, "not a complete zip")
    refuses(tmp_path / "absent.zip", folder, "does not exist")


def test_a_cut_or_altered_archive_is_refused(packed: Path, folder: Path, tmp_path: Path) -> None:
    data = packed.read_bytes()
    cut = tmp_path / "cut.zip"
    cut.write_bytes(data[: len(data) // 2])
    refuses(cut, folder, "not a complete zip")
    middle = len(data) // 2
    cut.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    refuses(cut, folder, "not a complete zip|hash")


def test_a_packed_stream_that_is_nonsense_is_refused(forge: Forge, folder: Path) -> None:
    path = forge()
    data = bytearray(path.read_bytes())
    start = data.index(b"config.json") + len(b"config.json")
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(bytes(data))
    refuses(path, folder, "not a complete zip|hash")


def test_encrypted_and_strangely_packed_archives_are_refused(forge: Forge, folder: Path) -> None:
    path = forge()
    data = bytearray(path.read_bytes())
    for at in [i for i in range(len(data)) if data[i : i + 4] == b"PK\x01\x02"]:
        data[at + 8] |= 1
    path.write_bytes(bytes(data))
    refuses(path, folder, "encrypted")
    refuses(forge(how=zipfile.ZIP_BZIP2), folder, "packed in a way")


def npz(**arrays: Any) -> bytes:
    made = io.BytesIO()
    np.savez(made, **arrays)
    return made.getvalue()


def parquet() -> bytes:
    made = io.BytesIO()
    pd.DataFrame({"a": [1, 2]}).to_parquet(made)
    return made.getvalue()


def short_array() -> bytes:
    inner, made = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(inner, {"descr": "<f8", "fortran_order": False, "shape": (2**40,)})
    with zipfile.ZipFile(made, "w") as out:
        out.writestr("a.npy", inner.getvalue())
    return made.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "match"),
    [
        ("detail.npz", npz(a=np.array([{"x": 1}], dtype=object)), "Python objects"),
        ("detail.npz", b"no zip", "not a file of arrays"),
        ("detail.npz", short_array(), "shorter than it says"),
        ("tokens.parquet", b"PAR1 no table PAR1", "not a readable table"),
        ("after/region.safetensors", b"\x80\x04\x95 a pickle", "not a safetensors file"),
        ("after/region.safetensors", (2**60).to_bytes(8, "little") + b"{}", "not a safetensors file"),
        ("metrics.json", b"[1, 2]", "not a JSON object"),
        ("metrics.json", b"\xff\xfe", "not readable JSON"),
        ("events.jsonl", b"[" * 100_000 + b"\n", "nested too deeply"),
        ("config.json", b'{"format": 1, "surprise": 1}', "surprise"),
    ],
)
def test_contents_are_what_their_names_say(name: str, data: bytes, match: str, forge: Forge, folder: Path) -> None:
    refuses(forge({name: data}), folder, match)


def test_sound_contents_are_taken(forge: Forge, folder: Path) -> None:
    good = {
        "detail.npz": npz(a=np.zeros(3), b=np.array(["x"])),
        "tokens.parquet": parquet(),
        "events.jsonl": b'{"kind": "x"}\n{"kin',
        "probes/paraphrase.json": b"{}",
    }
    run = archive.import_(forge(good), folder)[0]
    assert run.id == ID
    assert run.table("tokens") is not None
    assert run.events() == [{"kind": "x"}]


def test_a_run_without_configuration_is_refused(folder: Path, tmp_path: Path) -> None:
    files = {"status.json": b"{}"}
    path = tmp_path / "bare.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(f"{ID}/status.json", "{}")
        made.writestr(archive.LIST, listing(files))
    refuses(path, folder, "lacks its config.json")


def test_the_command_line_exports_and_imports(tmp_path: Path, folder: Path) -> None:
    bundled = store.bundled_runs()[0]
    done = command("export", bundled.id, "-o", str(tmp_path / "run.zip"), "--json")
    assert done.returncode == 0, done.stderr
    assert last_json(done.stdout)["runs"] == [bundled.id]
    done = command("import", str(tmp_path / "run.zip"), "--runs", str(folder), "--json")
    assert Run(folder / last_json(done.stdout)["runs"][0]).config() == bundled.config()
    done = command("import", __file__, "--runs", str(folder), "--json")
    assert done.returncode == 1
    assert "zip" in last_json(done.stdout)["error"]
    assert "Traceback" not in done.stderr


def test_an_import_that_finds_its_id_taken_at_the_last_moment_takes_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "incoming" / "run"
    mine.mkdir(parents=True)
    (mine / "config.json").write_text("mine")
    folder = tmp_path / "runs"
    (folder / "run").mkdir(parents=True)
    (folder / "run" / "config.json").write_text("theirs")
    names = iter([folder / "run", folder / "run-2"])  # the first was free when it was looked for
    monkeypatch.setattr(archive.trash, "free", lambda *_: next(names))
    assert archive._move_in(mine, folder).id == "run-2"
    assert (folder / "run" / "config.json").read_text() == "theirs"
    assert (folder / "run-2" / "config.json").read_text() == "mine"
