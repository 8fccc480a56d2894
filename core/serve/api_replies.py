"""What the answering process says -> replies in OpenAI's form: whole, or piece by piece. No heavy import."""

from __future__ import annotations

import secrets
import time
from typing import Any

from core.serve.api_requests import Wanted


class Cut:
    """Lets a text through until a stop text comes; what might be the beginning of one is held back."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        """Begin with nothing held back."""
        self.stops, self.held, self.found = stops, "", False

    def add(self, text: str, last: bool) -> str:
        """Return what can be let through; `last` lets out what was held back."""
        self.held += text
        places = [place for stop in self.stops if (place := self.held.find(stop)) >= 0]
        if places:
            self.found = True
            return self.held[: min(places)]
        begun = [size for stop in self.stops for size in range(1, len(stop)) if self.held.endswith(stop[:size])]
        through = len(self.held) - (0 if last else max(begun, default=0))
        out, self.held = self.held[:through], self.held[through:]
        return out


class Choice:
    """One answer as it comes."""

    def __init__(self, wanted: Wanted, index: int) -> None:
        """Begin with nothing said."""
        self.wanted, self.index = wanted, index
        self.cut = Cut(wanted.stops)
        self.text, self.said, self.finish = "", list[dict[str, Any]](), ""
        """finish: why it ended, empty while it goes on"""
        self.asked = self.taken = 0
        """tokens of the prompt and of the answer"""

    def add(self, piece: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
        """Take a piece in; return the text that it lets through, and the tokens that it said."""
        said = [] if piece["ended"] else [piece]
        self.taken += 1
        text = self.cut.add(piece["text"], piece["last"])
        if self.cut.found or piece["ended"]:
            self.finish = "stop"
        elif piece["last"]:
            self.finish = "length"
        self.text += text
        self.said += said
        return text, said


class Form:
    """The replies to one request."""

    def __init__(self, wanted: Wanted) -> None:
        """Make up its name and time."""
        self.wanted = wanted
        self.head = {
            "id": f"{'chatcmpl' if wanted.chat else 'cmpl'}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": wanted.model,
        }

    def whole(self, choices: list[Choice]) -> dict[str, Any]:
        """Return the reply to a request that does not stream."""
        told = []
        for choice in choices:
            logprobs = self._logprobs(choice.said, 0)
            content: dict[str, Any] = {"text": choice.text}
            if self.wanted.chat:
                content = {"message": {"role": "assistant", "content": choice.text, "refusal": None}}
            told.append({"index": choice.index, **content, "logprobs": logprobs, "finish_reason": choice.finish})
        kind = "chat.completion" if self.wanted.chat else "text_completion"
        return {**self.head, "object": kind, "choices": told, "usage": usage(choices)}

    def begin(self, choice: Choice) -> dict[str, Any] | None:
        """Return the first chunk of a chat's answer, which says who speaks; completions have none."""
        return self._chunk(choice, {"role": "assistant", "content": ""}, None, None) if self.wanted.chat else None

    def chunk(self, choice: Choice, text: str, said: list[dict[str, Any]]) -> dict[str, Any] | None:
        """Return the chunk that a piece makes, None where it makes none."""
        if not text and not choice.finish and not (said and self.wanted.logprobs):
            return None
        delta = {"content": text} if text or not choice.finish else {}
        logprobs = self._logprobs(said, len(choice.text) - len(text)) if said else None
        return self._chunk(choice, delta, logprobs, choice.finish or None)

    def last(self, choices: list[Choice]) -> dict[str, Any] | None:
        """Return the chunk that says how many tokens it took, None where nobody asked for it."""
        if not self.wanted.usage:
            return None
        return {**self._chunk_head(), "choices": [], "usage": usage(choices)}

    def _chunk_head(self) -> dict[str, Any]:
        return {**self.head, "object": "chat.completion.chunk" if self.wanted.chat else "text_completion"}

    def _chunk(self, choice: Choice, delta: dict[str, Any], logprobs: Any, finish: str | None) -> dict[str, Any]:
        content: dict[str, Any] = {"delta": delta} if self.wanted.chat else {"text": delta.get("content", "")}
        own = {"index": choice.index, **content, "logprobs": logprobs, "finish_reason": finish}
        return {**self._chunk_head(), "choices": [own], **({"usage": None} if self.wanted.usage else {})}

    def _logprobs(self, said: list[dict[str, Any]], offset: int) -> dict[str, Any] | None:
        """Return tokens with log-probabilities. offset: characters of the answer before them."""
        if not self.wanted.logprobs:
            return None
        if self.wanted.chat:
            top = [[_token(word, logprob) for word, logprob in piece["top"]] for piece in said]
            tokens = [_token(piece["word"], piece["logprob"]) for piece in said]
            return {
                "content": [{**token, "top_logprobs": best} for token, best in zip(tokens, top, strict=True)],
                "refusal": None,
            }
        offsets = []
        for piece in said:
            offsets.append(offset)
            offset += len(piece["word"])
        return {
            "tokens": [piece["word"] for piece in said],
            "token_logprobs": [piece["logprob"] for piece in said],
            "top_logprobs": [dict(piece["top"]) for piece in said] if self.wanted.top else None,
            "text_offset": offsets,
        }


def usage(choices: list[Choice]) -> dict[str, int]:
    """Count tokens."""
    asked, taken = sum(choice.asked for choice in choices), sum(choice.taken for choice in choices)
    return {"prompt_tokens": asked, "completion_tokens": taken, "total_tokens": asked + taken}


def _token(word: str, logprob: float) -> dict[str, Any]:
    # Half a character has no text of its own, so its bytes are not known here.
    return {"token": word, "logprob": logprob, "bytes": None if "\ufffd" in word else list(word.encode())}
