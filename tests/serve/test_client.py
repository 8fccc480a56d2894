"""The answerer as a real process: streams, reuse, several runs, errors, leaving."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from multiprocessing.connection import Listener
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.config.stages import AnswersConfig
from core.jobs import lifecycle
from core.runs.store import Run
from core.serve import client
from core.util.errors import UserError
from tests.processes import quick, until


@pytest.fixture(autouse=True)
def gone_afterwards() -> object:
    """Let no answerer outlive its test."""
    yield
    client.leave()


def told(replies: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what the process said, without the client's own signs of life."""
    return [reply for reply in replies if reply["kind"] != "waiting"]


def test_live_answers_are_the_recorded_ones(unlearned_run: Run) -> None:
    rows = unlearned_run.answers()[:5]
    live = client.texts(client.ask(unlearned_run, [row["question"] for row in rows], ("before", "after")), 2 * len(rows))
    assert live == [row[voice] for row in rows for voice in ("before", "after")]


def test_replies_come_in_order_and_name_prompt_and_weights(unlearned_run: Run) -> None:
    replies = told(client.ask(unlearned_run, ["Who is Orla Venning?"], ("before", "after", "never")))
    kinds = [reply["kind"] for reply in replies]
    assert kinds[:2] == ["loading", "start"]
    assert kinds[-1] == "done"
    assert set(kinds[2:-1]) == {"pieces"}
    start = replies[1]
    assert start["prompts"] == ["Who is Orla Venning?\n\n"]
    adapters = unlearned_run.json("manifest.json")["adapters"]
    assert start["hashes"] == {**adapters, "never": "adapter off"}
    lasts = [piece["index"] for reply in replies for piece in reply.get("pieces", ()) if piece["last"]]
    assert sorted(lasts) == [0, 1, 2]


def test_sampling_is_repeatable_by_seed(unlearned_run: Run) -> None:
    warm = AnswersConfig(max_new_tokens=12, temperature=1.5)

    def ask(seed: int) -> list[str]:
        return client.texts(client.ask(unlearned_run, ["Who is Orla Venning?"], ("before",), warm, seed), 1)

    assert ask(1) == ask(1)
    assert ask(1) != ask(2)


def test_hanging_up_stops_and_the_next_question_is_answered(unlearned_run: Run) -> None:
    replies = client.ask(unlearned_run, ["Endless?"], ("before",), AnswersConfig(max_new_tokens=240))
    for reply in replies:
        if reply["kind"] == "pieces":
            break
    replies.close()
    assert len(list(client.ask(unlearned_run, ["Next?"], ("after",)))) > 2


def test_ununlearned_run_run_and_unknown_voice_are_sentences(unlearned_run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no unlearned model"):
        list(client.ask(Run(tmp_path), ["Who?"]))
    with pytest.raises(UserError, match="befor"):
        client.texts(client.ask(unlearned_run, ["Who?"], ("befor",)), 1)
    assert list(client.ask(unlearned_run, ["Still there?"]))


def test_a_second_run_is_answered_by_its_own_weights(unlearned_run: Run, tiny_llama: Path, tiny_data: Path) -> None:
    other = lifecycle.submit(
        quick(tiny_llama, tiny_data, unlearn__learning_rate=0.1, answers__temperature=1.0, seed=5), unlearned_run.path.parent
    )
    list(lifecycle.follow(other))
    for run in (unlearned_run, other, unlearned_run):
        start = next(reply for reply in client.ask(run, ["Who?"]) if reply["kind"] == "start")
        assert start["hashes"] == run.json("manifest.json")["adapters"]
    # Sampled, alone and among others it is the answer that was recorded: the random numbers follow from seed and question.
    first, second, third = other.answers()[:3]
    alone = client.texts(client.ask(other, [third["question"]]), 2)
    among = client.texts(client.ask(other, [row["question"] for row in (third, first, second)]), 6)
    assert alone == among[:2] == [third["before"], third["after"]]


def test_leave_ends_the_process(unlearned_run: Run) -> None:
    list(client.ask(unlearned_run, ["Who?"]))
    assert client.leave()
    until(lambda: not client.leave(), "the end of the process")


def test_idle_process_leaves(unlearned_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGETSCOPE_IDLE_MINUTES", "0.02")
    list(client.ask(unlearned_run, ["Who?"]))
    # Nobody asks it to leave here: that would end it, idle or not.
    until(lambda: not (client.socket_folder() / "socket").exists(), "leaving")
    assert not client.leave()


def test_without_the_key_nothing_is_answered(unlearned_run: Run) -> None:
    list(client.ask(unlearned_run, ["Who?"]))
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(client.socket_folder() / "socket"))
        stranger.sendall(b"\x00\x00\x00\x02{}")
    assert list(client.ask(unlearned_run, ["Still there?"]))


def served(begun: threading.Event, lines: int) -> None:
    """Be an answerer that hangs up on its first clients, as one that is leaving does, and serves the last of so many."""
    folder = client.socket_folder()
    (folder / "key").write_bytes(b"key")
    with Listener(str(folder / "socket"), "AF_UNIX", authkey=b"key") as listener:
        begun.set()
        for left in range(lines - 1, -1, -1):
            with listener.accept() as line:
                client.receive(line)
                if not left:
                    client.send(line, {"kind": "done"})
    (folder / "socket").unlink(missing_ok=True)


@pytest.mark.parametrize("lines", [2, 3])
def test_a_process_that_leaves_before_its_first_word_is_asked_again_once(tmp_path: Path, lines: int) -> None:
    begun = threading.Event()
    thread = threading.Thread(target=served, args=(begun, lines), daemon=True)
    thread.start()
    assert begun.wait(20)
    if lines == 2:
        assert told(client.call("ask", Run(tmp_path))) == [{"kind": "done"}]
    else:
        with pytest.raises(UserError, match="has ended"):
            told(client.call("ask", Run(tmp_path)))
        assert told(client.call("ask", Run(tmp_path))) == [{"kind": "done"}]
    thread.join(20)


def test_a_process_that_finds_another_one_leaving_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = list[int]()

    def spawn() -> SimpleNamespace:
        started.append(1)
        if len(started) == 2:
            threading.Thread(target=served, args=(threading.Event(), 1), daemon=True).start()
        return SimpleNamespace(poll=lambda: 0)

    monkeypatch.setattr(client, "_spawn", spawn)
    monkeypatch.setattr(client, "START_SECONDS", 10)
    assert told(client.call("ask", Run(tmp_path))) == [{"kind": "done"}]


def test_a_folder_whose_name_can_be_guessed_must_be_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGETSCOPE_ANSWERER", str(tmp_path / ("long" * 20)))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = client.socket_folder()
    assert folder.parent == tmp_path
    assert client.socket_folder() == folder
    folder.chmod(0o755)
    with pytest.raises(UserError, match="not yours alone"):
        client.socket_folder()
    folder.rename(tmp_path / "elsewhere").chmod(0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="not yours alone"):
        client.socket_folder()


def test_a_voice_that_fails_costs_only_itself(unlearned_run: Run) -> None:
    voices = ("before", "step:99999", "after", "run:gone/after")
    replies = told(client.ask(unlearned_run, ["Who?"], voices))
    failed = {reply["voice"]: reply["what"] for reply in replies if reply["kind"] == "voice_error"}
    assert set(failed) == {"step:99999", "run:gone/after"}
    assert "no checkpoint of step 99999" in failed["step:99999"]
    assert {piece["index"] for reply in replies for piece in reply.get("pieces", ())} == {0, 2}
    assert replies[-1]["kind"] == "done"


def test_warming_returns_at_once_and_the_model_is_there_later(unlearned_run: Run) -> None:
    times = [time.monotonic()]
    for act in (client.warm, lambda run: list(client.ask(run, ["Who?"])), client.warm):
        act(unlearned_run)
        times.append(time.monotonic())
    first, loading, again = (end - start for start, end in pairwise(times))
    assert max(first, again) < loading / 2  # a busy machine slows all three
    assert client.leave()


def test_while_the_process_starts_the_consumer_can_stop(unlearned_run: Run) -> None:
    replies = client.ask(unlearned_run, ["Who?"])
    assert next(replies)["kind"] == "waiting"
    replies.close()
    assert client.texts(client.ask(unlearned_run, ["Still there?"]), 2)


def test_a_second_client_waits_with_signs_of_life_until_the_first_is_served(unlearned_run: Run) -> None:
    first = client.ask(unlearned_run, ["Endless?"], ("before",), AnswersConfig(max_new_tokens=200))
    while next(first)["kind"] != "pieces":
        pass
    second = client.ask(unlearned_run, ["And mine?"])
    assert next(second)["kind"] in ("waiting", "loading")
    first.close()
    assert told(second)[-1]["kind"] == "done"
