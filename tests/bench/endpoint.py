"""The endpoint under its own client: how soon the first token comes, and whether twenty questions at once are mixed up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

import openai

from core.runs import store
from core.runs.store import Run
from core.util.paths import ROOT

SEVERAL = 20
TIMES = 7
VOICES = ("before", "after", "never", "retrained")


def measure() -> dict[str, Any]:
    """Return figures of `core serve` on the bundled run."""
    run = Run(store.BUNDLED_RUNS / "privacy-clean")
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "core", "serve", run.id, "--port", "0", "--json"]
        environment = {**os.environ, "FORGETSCOPE_ANSWERER": place, "FORGETSCOPE_IDLE_MINUTES": "1"}
        began = time.monotonic()
        served = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            assert served.stdout
            url = str(json.loads(served.stdout.readline())["url"])
            ready = time.monotonic() - began
            return {"endpoint": {"seconds_until_it_serves": ready, **_asked(openai.OpenAI(base_url=url, api_key="-"), run)}}
        finally:
            served.terminate()
            served.wait(30)


def _asked(client: openai.OpenAI, run: Run) -> dict[str, Any]:
    rows = [row for row in run.answers() if row.get("split") == "free" and "after" in row]
    asked = [
        (VOICES[i % len(VOICES)], str(row["question"])) for i, row in enumerate(rows[:: len(rows) // SEVERAL][:SEVERAL])
    ]
    _streamed(client, *asked[0])
    alone = [_streamed(client, *one) for one in asked]
    first = [seconds for _, seconds in (_streamed(client, *asked[1]) for _ in range(TIMES))]
    together = threading.Barrier(SEVERAL)

    def at_once(one: tuple[str, str]) -> tuple[str, float]:
        together.wait(60)
        return _streamed(client, *one)

    began = time.monotonic()
    with ThreadPoolExecutor(SEVERAL) as pool:
        heard = list(pool.map(at_once, asked))
    pairs = list(zip(asked, alone, heard, strict=True))
    others = {text for text, _ in alone}
    return {
        "first_token_seconds": {"median": median(first), "most": max(first), "each_voice_most": max(s for _, s in alone)},
        "at_once": SEVERAL,
        "seconds_for_all": time.monotonic() - began,
        # Another batch rounds otherwise, and of two likely tokens the other may come: that is no mix-up.
        "not_as_alone": sum(mine[0] != text[0] for _, mine, text in pairs),
        "anothers_answer": sum(mine[0] != text[0] and text[0] in others for _, mine, text in pairs),
        "differing": [[*one, mine[0], text[0]] for one, mine, text in pairs if mine[0] != text[0]],
    }


def _streamed(client: openai.OpenAI, model: str, question: str) -> tuple[str, float]:
    """Return the answer and the seconds until its first text."""
    began, first, text = time.monotonic(), 0.0, ""
    messages: list[Any] = [{"role": "user", "content": question}]
    for chunk in client.chat.completions.create(model=model, messages=messages, stream=True):
        if chunk.choices and chunk.choices[0].delta.content:
            first = first or time.monotonic() - began
            text += chunk.choices[0].delta.content
    return text, first
