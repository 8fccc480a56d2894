"""The answerer as a real process: streams, reuse, several runs, errors, leaving."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from core import answerer, jobs
from core.config import AnswersConfig
from core.errors import UserError
from core.store import Run
from tests.processes import quick, until


@pytest.fixture(scope="module")
def finished(tiny_llama: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a finished run of a tiny model."""
    patch = pytest.MonkeyPatch()
    place = tmp_path_factory.mktemp("answerer")
    patch.setenv("FORGETSCOPE_QUEUE", str(place / "queue"))
    run = jobs.submit(quick(tiny_llama, tiny_data, unlearn__learning_rate=0.1), place / "runs")
    list(jobs.follow(run))
    patch.undo()
    assert run.status()["state"] == "done", run.status()
    return run


@pytest.fixture(autouse=True)
def gone_afterwards() -> object:
    """Let no answerer outlive its test."""
    yield
    answerer.leave()


def test_live_answers_are_the_recorded_ones(finished: Run) -> None:
    rows = finished.answers()[:5]
    live = answerer.texts(answerer.ask(finished, [row["question"] for row in rows], ("before", "after")), 2 * len(rows))
    assert live == [row[voice] for row in rows for voice in ("before", "after")]


def test_replies_come_in_order_and_name_prompt_and_weights(finished: Run) -> None:
    replies = list(answerer.ask(finished, ["Who is Orla Venning?"], ("before", "after", "never")))
    kinds = [reply["kind"] for reply in replies]
    assert kinds[:2] == ["loading", "start"]
    assert kinds[-1] == "done"
    assert set(kinds[2:-1]) == {"pieces"}
    start = replies[1]
    assert start["prompts"] == ["Who is Orla Venning?\n\n"]
    adapters = finished.json("manifest.json")["adapters"]
    assert start["hashes"] == {**adapters, "never": "adapter off"}
    lasts = [piece["index"] for reply in replies for piece in reply.get("pieces", ()) if piece["last"]]
    assert sorted(lasts) == [0, 1, 2]


def test_sampling_is_repeatable_by_seed(finished: Run) -> None:
    warm = AnswersConfig(max_new_tokens=12, temperature=1.5)

    def ask(seed: int) -> list[str]:
        return answerer.texts(answerer.ask(finished, ["Who is Orla Venning?"], ("before",), warm, seed), 1)

    assert ask(1) == ask(1)
    assert ask(1) != ask(2)


def test_hanging_up_stops_and_the_next_question_is_answered(finished: Run) -> None:
    replies = answerer.ask(finished, ["Endless?"], ("before",), AnswersConfig(max_new_tokens=2000))
    for reply in replies:
        if reply["kind"] == "pieces":
            break
    replies.close()
    assert len(list(answerer.ask(finished, ["Next?"], ("after",)))) > 2


def test_unfinished_run_and_unknown_voice_are_sentences(finished: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no unlearned model"):
        list(answerer.ask(Run(tmp_path), ["Who?"]))
    with pytest.raises(UserError, match="befor"):
        list(answerer.ask(finished, ["Who?"], ("befor",)))
    assert list(answerer.ask(finished, ["Still there?"]))


def test_a_second_run_is_answered_by_its_own_weights(finished: Run, tiny_llama: Path, tiny_data: Path) -> None:
    other = jobs.submit(quick(tiny_llama, tiny_data, unlearn__learning_rate=0.1, seed=5), finished.path.parent)
    list(jobs.follow(other))
    for run in (finished, other, finished):
        start = next(reply for reply in answerer.ask(run, ["Who?"]) if reply["kind"] == "start")
        assert start["hashes"] == run.json("manifest.json")["adapters"]


def test_leave_ends_the_process(finished: Run) -> None:
    list(answerer.ask(finished, ["Who?"]))
    assert answerer.leave()
    until(lambda: not answerer.leave(), "the end of the process")


def test_idle_process_leaves(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGETSCOPE_IDLE_MINUTES", "0.02")
    list(answerer.ask(finished, ["Who?"]))
    # Nobody asks it to leave here: that would end it, idle or not.
    until(lambda: not (answerer._place() / "socket").exists(), "leaving")
    assert not answerer.leave()


def test_without_the_key_nothing_is_answered(finished: Run) -> None:
    list(answerer.ask(finished, ["Who?"]))
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(answerer._place() / "socket"))
        stranger.sendall(b"\x00\x00\x00\x02{}")
    assert list(answerer.ask(finished, ["Still there?"]))
