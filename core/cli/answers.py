"""The verb answers: a finished run's model, asked."""

from __future__ import annotations

import argparse

from core.cli.terminal import one_run, out
from core.runs import store
from core.serve import client


def options(command: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    one_run(command)
    command.add_argument("--ask", metavar="QUESTION", action="append", required=True, help="may be given several times")
    command.add_argument("--never", action="store_true", help="also ask the model that was never taught")


def answers(given: argparse.Namespace) -> int:
    """Ask a finished run's model; one batch for all questions and voices."""
    run = store.find(given.id, store.runs_folder(given.runs))
    voices = ["before", "after", *(["never"] if given.never else [])]
    texts = client.texts(client.ask(run, given.ask, voices), len(given.ask) * len(voices))
    rows = [
        {"question": question, **{voice: texts[i * len(voices) + k] for k, voice in enumerate(voices)}}
        for i, question in enumerate(given.ask)
    ]
    lines = [line for row in rows for line in (*(f"{key + ':':10}{text}" for key, text in row.items()), "")]
    return out(given, {"run": run.id, "answers": rows}, lines[:-1])
