"""What a program asks of the endpoint, in OpenAI's form, checked and put into this project's words. No heavy import.

Settings that a request leaves out are the run's own (its stage answers), so that it is answered as the run was measured.
What the endpoint cannot do is refused, never passed over: an answer that ignores half of a request is wrong.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.config.run_config import RunConfig
from core.runs.store import Run
from core.runs.voices import parse
from core.serve import messages
from core.util.errors import UserError

MOST_CHOICES = 16
MOST_STOPS = 4
LONGEST_STOP = 200
"""characters"""
CAN_NOT: dict[str, tuple[Any, ...]] = {
    "audio": (None,),
    "best_of": (None, 1),
    "echo": (None, False),
    "frequency_penalty": (None, 0),
    "function_call": (None, "none", "auto"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "modalities": (None, ["text"]),
    "presence_penalty": (None, 0),
    "response_format": (None, {"type": "text"}),
    "suffix": (None, ""),
    "tool_choice": (None, "none", "auto"),
    "tools": (None, []),
}
"""what cannot be asked for -> the values that ask for nothing"""
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
"""OpenAI's role -> the chat template's"""


class Refused(Exception):
    """A request that is answered by an error in OpenAI's form."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        """Keep what the form says. status: of HTTP."""
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param

    def form(self) -> dict[str, Any]:
        """Return OpenAI's form of an error."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


@dataclass(frozen=True)
class Wanted:
    """A request that can be answered."""

    chat: bool
    model: str
    """the voice, in the grammar of core.runs.voices"""
    prompts: tuple[dict[str, Any], ...]
    """one for each choice, as core.serve.messages reads them"""
    settings: dict[str, Any] = field(default_factory=dict)
    """changes to the run's stage answers"""
    seed: int | None = None
    logprobs: bool = False
    top: int = 0
    """likeliest tokens told at each place"""
    stops: tuple[str, ...] = ()
    stream: bool = False
    usage: bool = False
    """whether a stream ends by how many tokens it took"""


def read(values: Mapping[str, Any], run: Run, config: RunConfig, *, chat: bool) -> Wanted:
    """Check the body of a request to /v1/chat/completions (chat) or /v1/completions. Raises Refused that says what is wrong.

    config: of the run that is served.
    """
    for name, nothing in CAN_NOT.items():
        if values.get(name) not in nothing:
            raise Refused(400, f"This endpoint does not do {name}. Leave it out.", "unsupported_parameter", name)
    model = _model(values.get("model"))
    settings = _settings(values, config)
    options = values.get("stream_options")
    logprobs, top = _logprobs(values, chat)
    wanted = Wanted(
        chat=chat,
        model=model,
        prompts=_prompts(values, model, settings, config, chat),
        settings=settings,
        seed=_whole(values, "seed", 0, 2**31 - 1),
        logprobs=logprobs,
        top=top,
        stops=_stops(values.get("stop")),
        stream=_flag(values, "stream"),
        usage=_flag(options, "include_usage") if isinstance(options, Mapping) else False,
    )
    try:
        messages.read({"op": "complete", "run": str(run.path), "prompts": list(wanted.prompts)})
    except UserError as error:
        raise Refused(400, str(error), param="messages" if chat else "prompt") from error
    return wanted


def _model(value: Any) -> str:
    """Return the canonical spelling of a voice of the run's own."""
    if not isinstance(value, str) or not value:
        raise Refused(400, "The request names no model. See /v1/models.", param="model")
    try:
        voice = parse(value)
    except UserError as error:
        raise Refused(404, str(error), "model_not_found", "model") from error
    if voice.run:
        raise Refused(404, "This endpoint serves one run. Ask before or after.", "model_not_found", "model")
    return str(voice)


def _settings(values: Mapping[str, Any], config: RunConfig) -> dict[str, Any]:
    """Return the changes to the stage answers."""
    longest = values.get("max_completion_tokens")
    given = {
        "max_new_tokens": ("max_tokens", values.get("max_tokens") if longest is None else longest),
        "temperature": ("temperature", values.get("temperature")),
        "top_p": ("top_p", values.get("top_p")),
    }
    settings = {}
    for key, (name, value) in given.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Refused(400, f"{name} must be a number.", param=name)
        try:
            config.with_setting(f"answers.{key}", value)
        except UserError as error:
            raise Refused(400, str(error), param=name) from error
        settings[key] = value
    return settings


def _prompts(
    values: Mapping[str, Any], model: str, settings: Mapping[str, Any], config: RunConfig, chat: bool
) -> tuple[dict[str, Any], ...]:
    """Return the prompt of each choice: n times each prompt. Where chance plays a part, each choice has its own."""
    begun: list[dict[str, Any]] = [{"text": text} for text in ([] if chat else _texts(values.get("prompt")))]
    if chat:
        begun = [{"turns": _turns(values.get("messages"))}]
    n = _whole(values, "n", 1, MOST_CHOICES) or 1
    if len(begun) * n > MOST_CHOICES:
        raise Refused(400, f"A request may have {MOST_CHOICES} answers. Send several.", param="n" if chat else "prompt")
    sampled = settings.get("temperature", config.answers.temperature) > 0
    prompts = []
    for start in begun:
        for number in range(n):
            # With a seed the first choice is drawn as the run would draw it, so that equal seeds answer alike.
            own = sampled and (values.get("seed") is None or number > 0)
            draw = (secrets.randbits(48) if values.get("seed") is None else number) if own else None
            prompts.append({"voice": model, **start, "draw": draw})
    return tuple(prompts)


def _turns(value: Any) -> list[list[str]]:
    """Return OpenAI's messages as turns."""
    if not isinstance(value, list) or not value:
        raise Refused(400, "The request has no messages.", param="messages")
    turns = []
    for message in value:
        if not isinstance(message, Mapping) or message.get("role") not in ROLES:
            raise Refused(400, f"A message has one of the roles {', '.join(ROLES)}, and a content.", param="messages")
        turns.append([ROLES[str(message["role"])], _content(message.get("content"))])
    return turns


def _content(value: Any) -> str:
    """Return a message's text, which may come in parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(
        isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str) for part in value
    ):
        return "".join(part["text"] for part in value)
    raise Refused(400, "A message's content must be text.", param="messages")


def _texts(value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise Refused(400, "The prompt must be a text or a list of texts.", param="prompt")
    return texts


def _logprobs(values: Mapping[str, Any], chat: bool) -> tuple[bool, int]:
    """Return whether log-probabilities are told, and of how many alternatives."""
    if not chat:
        top = _whole(values, "logprobs", 0, messages.MOST_ALTERNATIVES)
        return top is not None, top or 0
    top = _whole(values, "top_logprobs", 0, messages.MOST_ALTERNATIVES) or 0
    told = _flag(values, "logprobs")
    if top and not told:
        raise Refused(400, "top_logprobs needs logprobs to be true.", param="top_logprobs")
    return told, top


def _stops(value: Any) -> tuple[str, ...]:
    stops = [] if value is None else [value] if isinstance(value, str) else value
    if (
        not isinstance(stops, list)
        or len(stops) > MOST_STOPS
        or not all(isinstance(stop, str) and 0 < len(stop) <= LONGEST_STOP for stop in stops)
    ):
        raise Refused(400, f"stop takes up to {MOST_STOPS} texts of at most {LONGEST_STOP} characters.", param="stop")
    return tuple(stops)


def _whole(values: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    value = values.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Refused(400, f"{name} must be a whole number from {low} to {high}.", param=name)
    return value


def _flag(values: Mapping[str, Any], name: str) -> bool:
    value = values.get(name)
    if value is not None and not isinstance(value, bool):
        raise Refused(400, f"{name} must be true or false.", param=name)
    return bool(value)
