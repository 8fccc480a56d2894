"""The endpoint as programs see it: a real process, asked by OpenAI's own client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from core.config.stages import AnswersConfig
from core.runs.store import Run
from core.serve import api, client
from core.serve.api_replies import Cut
from core.serve.api_requests import Refused, read
from core.util.errors import UserError
from tests.processes import ROOT

KEY = "a key that nobody guesses"
TOKENS = 12
SEVERAL = 20


class Served:
    """A run at an endpoint."""

    def __init__(self, run: Run, place: str, **env: str) -> None:
        command = [
            sys.executable,
            "-m",
            "core",
            "serve",
            str(run.id),
            "--runs",
            str(run.path.parent),
            "--port",
            "0",
            "--json",
        ]
        self.env = {**os.environ, "FORGETSCOPE_ANSWERER": place, **env}
        self.process = subprocess.Popen(command, cwd=ROOT, env=self.env, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.said = json.loads(self.process.stdout.readline())
        self.url = str(self.said["url"])

    def client(self, key: str = "none") -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url, api_key=key, max_retries=0, timeout=120)

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FORGETSCOPE_ANSWERER", self.env["FORGETSCOPE_ANSWERER"])
            client.leave()


@pytest.fixture(scope="module")
def served(unlearned_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(unlearned_run, str(tmp_path_factory.mktemp("answerer")))
    yield made
    made.end()


@pytest.fixture
def same_process(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the process that the endpoint asks."""
    monkeypatch.setenv("FORGETSCOPE_ANSWERER", served.env["FORGETSCOPE_ANSWERER"])


def chat(served: Served, model: str, question: str, **options: Any) -> Any:
    messages: list[Any] = [{"role": "user", "content": question}]
    return served.client().chat.completions.create(model=model, messages=messages, max_tokens=TOKENS, **options)


def refused(error: openai.APIStatusError) -> str:
    """Return the sentence of an error in OpenAI's form."""
    return str(error.response.json()["error"]["message"])


def test_the_voices_of_the_run_are_the_models(served: Served, unlearned_run: Run) -> None:
    models = served.client().models.list().data
    assert [model.id for model in models] == served.said["models"] == ["before", "after", "never"]  # none was retrained
    assert served.client().models.retrieve("after").model_extra == {"name": "After", "run": unlearned_run.id}
    with pytest.raises(openai.NotFoundError):
        served.client().models.retrieve("retrained")


def test_a_chat_is_answered_as_the_run_recorded_it(served: Served, unlearned_run: Run) -> None:
    for row in unlearned_run.answers()[:3]:
        for voice in ("before", "after"):
            answer = served.client().chat.completions.create(
                model=voice, messages=[{"role": "user", "content": row["question"]}]
            )
            assert str(answer.choices[0].message.content).strip() == row[voice]
            assert answer.usage
            assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 1


@pytest.mark.usefixtures("same_process")
def test_twenty_streams_at_once_are_not_mixed_up(served: Served, unlearned_run: Run) -> None:
    voices = ("before", "after", "never")
    rows = unlearned_run.answers()
    asked = [(voices[i % 3], f"{rows[i % len(rows)]['question']} {i}") for i in range(SEVERAL)]
    settings = AnswersConfig(max_new_tokens=TOKENS)
    alone = [client.texts(client.ask(unlearned_run, [question], [voice], settings), 1)[0] for voice, question in asked]
    together = threading.Barrier(SEVERAL)

    def streamed(voice: str, question: str) -> tuple[str, str]:
        together.wait(60)
        chunks = list(chat(served, voice, question, stream=True))
        assert {chunk.model for chunk in chunks} == {voice}
        assert len({chunk.id for chunk in chunks}) == 1
        assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] in (["stop"], ["length"])
        return chunks[0].id, "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    with ThreadPoolExecutor(SEVERAL) as pool:
        heard = list(pool.map(streamed, *zip(*asked, strict=True)))
    assert [text.strip() for _, text in heard] == alone
    assert len({name for name, _ in heard}) == SEVERAL
    assert len(set(alone)) > SEVERAL // 4


@pytest.mark.usefixtures("same_process")
def test_log_probabilities_are_those_of_the_model(served: Served, unlearned_run: Run) -> None:
    question = "Where does Orla Venning live?"
    pieces = [
        piece
        for reply in client.ask(unlearned_run, [question], ["after"], AnswersConfig(max_new_tokens=TOKENS))
        for piece in reply.get("pieces", ())
    ]
    told = chat(served, "after", question, logprobs=True, top_logprobs=3).choices[0].logprobs.content
    expected = [piece["logprob"] for piece in pieces][: len(told)]
    assert [token.logprob for token in told] == pytest.approx(expected, abs=1e-4)
    for token in told:
        best = [entry.logprob for entry in token.top_logprobs]
        assert len(best) == 3
        assert best == sorted(best, reverse=True)
        assert token.token == token.top_logprobs[0].token  # greedy
        assert token.bytes is None or bytes(token.bytes).decode() == token.token
    # The same prompt as a text: a run of template plain ends its questions by an empty line.
    text = served.client().completions.create(
        model="after", prompt=f"{question}\n\n", max_tokens=TOKENS, logprobs=1, stream=False
    )
    assert text.choices[0].logprobs
    assert text.choices[0].logprobs.token_logprobs == pytest.approx(expected, abs=1e-4)
    assert text.choices[0].text == chat(served, "after", question).choices[0].message.content
    stream = list(chat(served, "after", question, logprobs=True, stream=True, stream_options={"include_usage": True}))
    streamed = [token.logprob for c in stream[:-1] if c.choices[0].logprobs for token in c.choices[0].logprobs.content]
    assert streamed == pytest.approx(expected, abs=1e-4)
    assert not stream[-1].choices
    assert stream[-1].usage.completion_tokens == len(pieces)


def test_several_prompts_and_choices_are_in_order(served: Served) -> None:
    prompts = ["Orla Venning lives", "Pavel Drost is", "Sana Iqbar was"]
    one = [served.client().completions.create(model="before", prompt=text, max_tokens=5).choices[0].text for text in prompts]
    choices = served.client().completions.create(model="before", prompt=prompts, n=2, max_tokens=5).choices
    assert [choice.text for choice in choices] == [text for text in one for _ in range(2)]
    assert [choice.index for choice in choices] == list(range(6))


def test_equal_seeds_answer_alike_and_none_does_not(served: Served) -> None:
    def say(seed: int | None) -> str:
        return str(chat(served, "before", "Who?", temperature=2.0, seed=seed).choices[0].message.content)

    assert say(3) == say(3)
    assert len({say(None) for _ in range(4)}) > 1


def test_a_stop_text_ends_an_answer(served: Served) -> None:
    whole = str(chat(served, "before", "Who is Orla Venning?").choices[0].message.content)
    stop = whole[3:5]
    expected = whole[: whole.index(stop)]
    answer = chat(served, "before", "Who is Orla Venning?", stop=[stop]).choices[0]
    assert (answer.message.content, answer.finish_reason) == (expected, "stop")
    chunks = list(chat(served, "before", "Who is Orla Venning?", stop=[stop], stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == expected
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_stop_text_may_come_in_pieces() -> None:
    cut = Cut(("###",))
    assert [cut.add(text, False) for text in ("a#", "#b#", "##c")] == ["a", "##b", ""]
    assert cut.found
    cut = Cut(("###",))
    assert cut.add("a##", True) == "a##"
    assert not cut.found


def test_what_cannot_be_answered_is_said_in_openais_form(served: Served) -> None:
    with pytest.raises(openai.NotFoundError, match="no voice"):
        chat(served, "gpt-4", "Who?")
    with pytest.raises(openai.NotFoundError, match="did not teach a second model"):
        chat(served, "retrained", "Who?")
    with pytest.raises(openai.BadRequestError, match="does not do tools") as error:
        chat(served, "after", "Who?", tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}])
    assert error.value.param == "tools"
    with pytest.raises(openai.BadRequestError, match="more than this model reads"):
        chat(served, "after", "long " * 300)
    # This run asks in no chat template: only one question can be written.
    turns: list[Any] = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Who?"}]
    with pytest.raises(openai.BadRequestError, match="no chat template"):
        served.client().chat.completions.create(model="after", messages=turns)
    with pytest.raises(openai.BadRequestError, match="from 0"):
        chat(served, "after", "Who?", temperature=-1)
    with httpx.Client(base_url=served.url) as plain:
        assert plain.post("/chat/completions", content="{}").status_code == 415
        broken = plain.post("/chat/completions", content="{", headers={"Content-Type": "application/json"})
        assert (broken.status_code, broken.json()["error"]["type"]) == (400, "invalid_request_error")
        assert plain.get("/nothing").json()["error"]["message"] == "Not Found."
        assert plain.get("/models", headers={"Host": "evil.example"}).status_code == 400
        assert plain.get("/models").status_code == 200


def test_one_that_cannot_be_answered_costs_the_others_nothing(served: Served) -> None:
    together = threading.Barrier(4)

    def say(question: str) -> str:
        together.wait(60)
        try:
            return str(chat(served, "after", question).choices[0].message.content)
        except openai.BadRequestError as error:
            return refused(error)[:10]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(say, ["long " * 300, "Who is Orla Venning?", "Who is Pavel Drost?", "Who is Sana Iqbar?"]))
    assert answers[0] == "The prompt"
    assert answers[1:] == [
        chat(served, "after", f"Who is {name}?").choices[0].message.content
        for name in ("Orla Venning", "Pavel Drost", "Sana Iqbar")
    ]


def test_hanging_up_stops_a_stream_and_the_next_is_answered(served: Served) -> None:
    stream = served.client().chat.completions.create(
        model="before", messages=[{"role": "user", "content": "Endless?"}], max_tokens=200, stream=True
    )
    next(iter(stream))
    stream.close()
    assert chat(served, "after", "Next?").choices[0].finish_reason


def test_nobody_gets_past_a_key(unlearned_run: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    served = Served(unlearned_run, str(tmp_path_factory.mktemp("answerer")), FORGETSCOPE_KEY=KEY)
    try:
        for wrong in ("none", KEY[:-1], f"{KEY}x"):
            with pytest.raises(openai.AuthenticationError) as error:
                served.client(wrong).models.list()
            assert error.value.code == "invalid_api_key"
        assert httpx.get(f"{served.url}/models").status_code == 401
        assert httpx.post(f"{served.url}/chat/completions", json={}).status_code == 401
        assert served.client(KEY).models.list().data
    finally:
        served.end()


@pytest.mark.parametrize(
    ("arguments", "key", "says"),
    [
        (["--host", "0.0.0.0"], "", "needs a key"),
        (["--host", "192.168.0.1"], "", "needs a key"),
        (["--host", "0.0.0.0"], "short", "has 5 characters"),
    ],
)
def test_an_endpoint_that_cannot_be_opened_is_one_sentence(
    unlearned_run: Run, arguments: list[str], key: str, says: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "core", "serve", unlearned_run.id, "--runs", str(unlearned_run.path.parent), *arguments],
        cwd=ROOT,
        env={**os.environ, "FORGETSCOPE_KEY": key},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with api.bound("127.0.0.1", 0) as taken:
        with pytest.raises(UserError, match="cannot be listened on"):
            api.bound("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "names no model"),
        ({"model": "after"}, "no messages"),
        ({"model": "run:other/after", "messages": [{"role": "user", "content": "x"}]}, "serves one run"),
        ({"model": "after", "messages": [{"role": "tool", "content": "x"}]}, "one of the roles"),
        ({"model": "after", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "must be text"),
        ({"model": "after", "messages": [{"role": "user", "content": "x"}], "n": 99}, "from 1 to 16"),
        ({"model": "after", "messages": [{"role": "user", "content": "x"}], "stream": 1}, "true or false"),
        ({"model": "after", "messages": [{"role": "user", "content": "x"}], "max_tokens": True}, "must be a number"),
        ({"model": "after", "messages": [{"role": "user", "content": "x"}], "max_tokens": 10**6}, "1 to 2048"),
        ({"model": "after", "messages": [{"role": "user", "content": "x"}], "top_logprobs": 2}, "needs logprobs"),
        ({"model": "after", "messages": [{"role": "user", "content": "\ud800"}]}, "half a character"),
        ({"model": "after", "messages": [{"role": "user", "content": "x"}], "stop": [""]}, "stop takes"),
    ],
)
def test_a_wrong_request_is_refused_by_name(values: dict[str, Any], says: str) -> None:
    run = Run(ROOT / "assets" / "runs" / "privacy-clean")
    with pytest.raises(Refused) as error:
        read(values, run, run.config(), chat=True)
    assert says in error.value.message
    assert error.value.status in (400, 404)
