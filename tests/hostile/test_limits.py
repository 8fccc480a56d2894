"""What one person may cost the others: the size of an upload, the length of questions and answers, and one question at a
time."""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.config.stages import AnswersConfig
from core.runs import store
from core.serve import client, messages, one_at_a_time
from core.util import access
from core.util.errors import UserError
from dashboard.runs import archive, form_upload
from tests.processes import ROOT

RUN = store.bundled_runs()[0]


@pytest.fixture
def acting() -> Iterator[Any]:
    """Let somebody act for whom this process does not."""

    def become(name: str) -> None:
        access.identify(lambda: name)

    yield become
    access.identify(access.of_process)


def test_the_server_takes_no_more_than_the_pages_ask_for() -> None:
    server = tomllib.loads((ROOT / "streamlit_config.toml").read_text())["server"]
    assert server["maxUploadSize"] == archive.LARGEST
    assert form_upload.LARGEST <= archive.LARGEST * 2**20


def test_a_file_of_questions_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGETSCOPE_RUNS", str(tmp_path))
    with pytest.raises(UserError, match="at most 20 MB"):
        form_upload.save("a.json", bytes(form_upload.LARGEST + 1))
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size is looked at before it is opened."""
    state: dict[str, Any] = {"k": SimpleNamespace(name="a.zip", size=archive.LARGEST * 2**20 + 1), "import.number": 0}
    monkeypatch.setattr(archive.st, "session_state", state)
    monkeypatch.setattr(archive.archive, "import_", lambda *_: pytest.fail("it was opened"))
    archive.take("k")
    assert "more than 64 MB" in str(state["import.problem"])


def test_a_question_is_bounded_before_it_is_sent_on() -> None:
    wanted = {"op": "ask", "run": str(RUN.path), "voices": ["after"]}
    assert messages.read(wanted | {"questions": ["w" * messages.LONGEST_TEXT]}).questions
    with pytest.raises(UserError, match="more than 20000"):
        messages.read(wanted | {"questions": ["w" * (messages.LONGEST_TEXT + 1)]})


@pytest.mark.parametrize("tokens", [0, -1, 2049, 10**9])
def test_an_answer_has_a_longest_length(tokens: int) -> None:
    from core.config.run_config import RunConfig

    with pytest.raises(UserError, match="range"):
        RunConfig().with_setting("answers.max_new_tokens", tokens)


@pytest.mark.parametrize(
    ("questions", "voices", "tokens", "taken"), [(500, 6, 48, True), (500, 6, 2048, False), (1, 1, 2048, True)]
)
def test_all_answers_to_a_request_together_are_bounded(questions: int, voices: int, tokens: int, taken: bool) -> None:
    """The request is refused before a single token is computed."""
    from core.serve.service import Service

    class Stopped(Exception):
        """The limits were passed."""

    class Bare(Service):
        def settings(self, changes: Any) -> AnswersConfig:
            return AnswersConfig(max_new_tokens=tokens)

        def _prompts(self, texts: Any) -> Any:
            return [(1, 2, 3) for _ in texts]

        @property
        def room(self) -> int:
            return 8192

        def speaking(self, names: Any) -> Any:
            raise Stopped

    asked = messages.Asked(RUN, RUN.path.parent, ("?",) * questions, tuple(map(str, range(voices))))
    with pytest.raises(Stopped if taken else UserError, match=None if taken else "tokens to answer"):
        list(Bare().ask(asked))


class Line:
    """The other end of the line: it has begun to answer, and does not end."""

    def __init__(self) -> None:
        self.closed = False

    def poll(self, _: float) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[Line]:
    """Take the place of the answering process; return the lines that were opened."""
    opened: list[Line] = []

    def connect() -> Iterator[Line]:
        opened.append(Line())
        yield opened[-1]

    monkeypatch.setattr(client, "_connect", connect)
    monkeypatch.setattr(client, "send", lambda *_: None)
    monkeypatch.setattr(client, "receive", lambda _: {"kind": "pieces", "pieces": []})
    monkeypatch.setattr(client, "HEARTBEAT", 0.01)
    return opened


def test_one_question_of_a_person_at_a_time(acting: Any, lines: list[Line]) -> None:
    """The second waits until the first has ended, however that ends; somebody else does not wait."""
    acting("ada")
    first, second = client.ask(RUN, ["?"]), client.ask(RUN, ["?"])
    assert next(first)["kind"] == "pieces"
    assert [next(second)["kind"] for _ in range(3)] == ["waiting"] * 3
    acting("bob")
    other = client.ask(RUN, ["?"])
    assert next(other)["kind"] == "pieces"
    assert len(lines) == 2
    first.close()
    assert lines[0].closed
    assert next(second)["kind"] == "pieces"
    second.close()
    other.close()
    acting("ada")
    assert next(client.ask(RUN, ["?"]))["kind"] == "pieces"


def test_whoever_waits_too_long_is_told_so(acting: Any, lines: list[Line], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TURN_SECONDS", 0.05)
    acting("eve")
    first = client.ask(RUN, ["?"])
    next(first)
    with pytest.raises(UserError, match="still being answered"):
        list(client.ask(RUN, ["?"]))
    first.close()
    again = client.ask(RUN, ["?"])
    assert next(again)["kind"] == "pieces", "who gave up had no turn, and gives none back"
    held = client.ask(RUN, ["?"])
    assert next(held)["kind"] == "waiting"
    again.close()
    held.close()


def test_a_question_given_up_while_it_waits_lets_the_next_one_in(acting: Any, lines: list[Line]) -> None:
    acting("joe")
    first, second = client.ask(RUN, ["?"]), client.ask(RUN, ["?"])
    next(first)
    next(second)
    second.close()
    first.close()
    assert next(client.ask(RUN, ["?"]))["kind"] == "pieces"


def test_a_failed_question_gives_its_turn_back(acting: Any, lines: list[Line], monkeypatch: pytest.MonkeyPatch) -> None:
    acting("kim")
    monkeypatch.setattr(client, "receive", lambda _: {"kind": "error", "what": "No.", "fix": ""})
    for _ in range(3):
        with pytest.raises(UserError, match="No"):
            list(client.ask(RUN, ["?"]))


def test_the_command_line_is_not_held_back(lines: list[Line]) -> None:
    both = [client.ask(RUN, ["?"]) for _ in range(2)]
    assert [next(one)["kind"] for one in both] == ["pieces", "pieces"]


def test_many_threads_of_one_person_pass_one_by_one(acting: Any) -> None:
    acting("many")
    inside, most = [0], [0]

    def ask() -> None:
        for _ in one_at_a_time.waiting(0.01, 10.0):
            pass
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        inside[0] -= 1
        one_at_a_time.done("many")

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
