"""Disk and memory on the page Runs: for whom it is, what it shows, and what its buttons do."""

from __future__ import annotations

import os

import pytest
import streamlit as st

from core.jobs import queue_limits, under_way
from core.runs import disk_use, stage_files, store, trash
from core.util import access
from dashboard.runs import work_under_way
from dashboard.server import sign_in
from tests.dashboard.conftest import MakeRun, Open, text_of


def test_it_says_who_runs_what_and_ends_it(make_run: MakeRun, open_page: Open) -> None:
    make_run("mine", "running", owner="ada@uni.org", stage="teach")
    make_run("theirs", "queued", owner="bob@uni.org", position=2)
    make_run("over", "done")
    app = open_page("runs", view="Disk and memory")
    assert not app.exception
    said = text_of(app)
    assert "ada\\@uni\\.org" in said
    assert "bob\\@uni\\.org" in said
    assert "number 2 in the queue" in said
    assert [b.key for b in app.button if b.label == "Cancel"] == ["admin.cancel.run.mine", "admin.cancel.run.theirs"]
    app.button(key="admin.cancel.run.theirs").click().run()
    assert (store.runs_folder() / "theirs" / "cancel").exists()
    assert not (store.runs_folder() / "mine" / "cancel").exists()
    assert app.button(key="admin.cancel.run.theirs").disabled


def test_work_that_cannot_be_ended_any_more_says_why(
    make_run: MakeRun, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("theirs", "running", owner="bob@uni.org", stage="teach")
    app = open_page("runs", view="Disk and memory")
    monkeypatch.setenv(access.READ_ONLY, "1")
    app.button(key="admin.cancel.run.theirs").click().run()
    assert not app.exception
    assert "read-only" in app.error[0].value.replace("\\", "")
    assert not (run.path / "cancel").exists()


def test_the_disk_is_cleaned_part_by_part(make_run: MakeRun, open_page: Open) -> None:
    folder = store.runs_folder()
    run = make_run("mine")
    trash.delete(make_run("thrown"))
    stage_files.cached(
        folder, "teach", "k", run, lambda place: (place / "lonely.bin").write_bytes(os.urandom(2**20)) and None
    )
    (run.path / "lonely.bin").unlink()
    app = open_page("runs", view="Disk and memory")
    assert {b.key for b in app.button if b.label == "Delete for good"} == {"admin.clean.trash", "admin.clean.cache"}
    assert any(b.key.startswith("undo.") for b in app.button)
    app.button(key="admin.clean.cache").click().run()
    assert disk_use.use(folder).sizes["cache"] == 0
    assert trash.content(folder)
    app.button(key="admin.clean.trash").click().run()
    assert not trash.content(folder)
    assert run.path.is_dir()
    assert not [b for b in app.button if b.label == "Delete for good"]


@pytest.mark.parametrize("view", ["Disk and memory", "New run"])
def test_the_quota_is_said_where_runs_are_started(
    view: str, make_run: MakeRun, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("mine")
    assert not open_page("runs", view=view).warning
    monkeypatch.setenv(queue_limits.DISK_QUOTA, "0.001")
    app = open_page("runs", view=view)
    assert "nothing can be started" in app.warning[0].value.replace("\\", "")
    monkeypatch.setenv(queue_limits.DISK_QUOTA, "lots")
    assert "no number of gigabytes" in open_page("runs", view=view).error[0].value.replace("\\", "")


def test_starting_over_the_quota_is_one_sentence(
    make_run: MakeRun, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("mine")
    monkeypatch.setenv(queue_limits.DISK_QUOTA, "0.001")
    app = open_page("runs", view="New run")
    next(b for b in app.button if b.label == "Start").click().run()
    assert not app.exception
    assert "nothing can be started" in app.error[0].value.replace("\\", "")
    assert [run.id for run in store.list_runs(store.runs_folder())] == ["mine"]


def test_read_only_shows_it_without_buttons(make_run: MakeRun, open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run("mine", "running")
    trash.delete(make_run("thrown"))
    monkeypatch.setenv(access.READ_ONLY, "1")
    app = open_page("runs", view="Disk and memory")
    assert not app.exception
    assert not [b for b in app.button if b.label in ("Cancel", "Delete for good")]


class Somebody:
    """Who is signed in."""

    is_logged_in = True

    def __init__(self, email: str, verified: bool = True) -> None:
        self.values = {"email": email, "email_verified": verified, "sub": "1"}

    def to_dict(self) -> dict[str, object]:
        return dict(self.values)

    def get(self, name: str) -> object:
        return self.values.get(name)


@pytest.mark.parametrize(
    ("person", "admins", "inside"),
    [
        (Somebody("ada@uni.org"), "ada@uni.org", True),
        (Somebody("ada@uni.org"), "@uni.org", True),
        (Somebody("bob@uni.org"), "ada@uni.org", False),
        (Somebody("ada@uni.org", verified=False), "ada@uni.org", False),
        (Somebody("ada@uni.org"), "", False),
    ],
)
def test_where_people_sign_in_it_is_for_those_named(
    person: Somebody, admins: str, inside: bool, open_page: Open, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("mine", "running", owner="carol@uni.org")
    monkeypatch.setenv(access.LOGIN, "required")
    monkeypatch.setenv(access.ADMINS, admins)
    monkeypatch.setattr(st, "user", person)
    assert sign_in.admin() is inside
    app = open_page("runs", view="Disk and memory")
    assert not app.exception
    assert ("carol" in text_of(app)) is inside
    assert bool(app.error) is not inside
    assert ("Disk and memory" in app.segmented_control(key="view").options) is inside


def test_a_person_is_named_by_a_verified_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in, "get_script_run_ctx", lambda **_: object())
    monkeypatch.setenv(access.LOGIN, "required")
    monkeypatch.setattr(st, "user", Somebody("Ada@Uni.org"))
    assert sign_in.me() == "ada@uni.org"
    monkeypatch.setattr(st, "user", Somebody("ada@uni.org", verified=False))
    assert sign_in.me() == "ada@uni.org (not verified)"


def test_a_worker_is_named_after_what_it_works_at(make_run: MakeRun) -> None:
    run = make_run("mine", "running")
    work = work_under_way.Work(run, "run", run.status())
    columns = work_under_way.table([under_way.Process(os.getpid(), "worker", 3_000_000, 0.0)], [work], 90.0)
    assert columns["At"] == [run.config().name]
    assert columns["Memory in MB"] == [3]
    assert columns["Running for"] == ["1 min 30 s"]
