"""What the verbs of the command line share: options, what they become, and results on the terminal.

Results go to stdout (`say`), everything else to stderr (`note`).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from core.config import own_methods, run_config, trust
from core.config.presets import DEFAULT
from core.config.run_config import RunConfig
from core.data.corpus import SCOPES
from core.jobs import ray_cluster
from core.jobs.ray_cluster import Resources
from core.regions import parse
from core.runs import asked, never_knew
from core.runs.scores import Scores
from core.runs.store import Run
from core.runs.summary import VOICE_KEYS, summary
from core.util.errors import UserError, visible
from core.util.files import clean

STATUS = {"done": 0, "cancelled": 130}
"""state in which work ended -> exit status; 1 for any other"""


def run_options(command: argparse.ArgumentParser) -> None:
    """Add the options that become a run's configuration."""
    command.add_argument("--config", metavar="FILE", help="JSON configuration, as `show --json` prints it")
    command.add_argument(
        "--preset",
        metavar="NAME",
        help="clean (default), this-machine (MemFlex; default with --method), recommended; published ones: `presets`",
    )
    command.add_argument("--model", metavar="M", help="bundled (default), hub id, folder, GGUF file or adapter folder")
    command.add_argument("--data", metavar="D", help="demo (default), knowundo or tofu (hub), folder or file")
    command.add_argument(
        "--subset", metavar="S", help="privacy (default), copyright; of TOFU forget01, forget05 or forget10"
    )
    command.add_argument("--method", metavar="NAME", help="see `methods`; or FILE.py:CLASS, a method of your own")
    command.add_argument(
        "--region",
        metavar="RULE",
        help=(
            "the preset's (default), located, all, random, complement, top:20%%, score:removal:20%%, late:33%%, "
            "ratio-layers:5, separable, layers:A-B, modules:NAME,…"
        ),
    )
    command.add_argument(
        "--set", metavar="STAGE.KEY=VALUE", action="append", default=[], help="any setting; may be repeated"
    )
    command.add_argument("--trust-remote-code", action="store_true", help="let a hub repository run its own code")
    command.add_argument("--name", metavar="NAME", help="shown in lists")


def cluster_options(command: argparse.ArgumentParser) -> None:
    """Add the options that say where runs are made."""
    command.add_argument(
        "--backend", choices=("local", "ray"), default="local", help="ray: each run a task on a Ray cluster"
    )
    command.add_argument("--cpus", metavar="N", type=float, help="with --backend ray: CPUs, and threads, of each run (1)")
    command.add_argument("--gpus", metavar="N", type=float, help="with --backend ray: GPUs of each run (1 if there are any)")


def one_run(command: argparse.ArgumentParser) -> None:
    """Add the name of a run."""
    command.add_argument("id", metavar="RUN")


def several_runs(command: argparse.ArgumentParser) -> None:
    """Add the names of runs."""
    command.add_argument("ids", metavar="RUN", nargs="+")


def say(text: str) -> None:
    """Print a result; answers and names in it obey nobody, so that no terminal obeys them."""
    sys.stdout.write(visible(text) + "\n")


def note(text: str) -> None:
    """Print a message."""
    sys.stderr.write(visible(text) + "\n")


def out(given: argparse.Namespace, output: Any, lines: Iterator[str] | Sequence[str]) -> int:
    """Print a value as JSON where that is asked for, else its lines."""
    if given.json:
        say(json.dumps(clean(output), ensure_ascii=False))
    else:
        for line in lines:
            say(line)
    return 0


def table(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Align columns of text; the first row is the head."""
    text = [
        ["–" if cell is None else f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows
    ]
    widths = [max(len(row[i]) for row in text) for i in range(len(text[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in text]


def configured(given: argparse.Namespace, usual: str = DEFAULT) -> RunConfig:
    """Make a configuration of preset or file, and options. Raises UserError for anything unknown.

    usual: the preset where none and no method is named.
    """
    if given.config and given.preset:
        raise UserError("--config and --preset exclude each other.", "A configuration file holds all settings.")
    usual = "this-machine" if given.method else usual
    chosen = run_config.load(Path(given.config)) if given.config else run_config.preset(given.preset or usual)
    for path, value in (
        ("model.name", given.model),
        ("data.source", given.data),
        ("data.subset", given.subset),
        ("name", given.name),
    ):
        if value is not None:
            chosen = chosen.with_setting(path, value)
    if given.method:
        method = own_methods.named(given.method) or given.method
        # What a file says of the other settings stays as it is.
        chosen = chosen.with_setting("unlearn.method", method) if given.config else run_config.with_method(chosen, method)
    if given.region:
        chosen = dataclasses.replace(chosen, region=parse(given.region, chosen.region))
    return trust.given(with_settings(chosen, given.set), given.trust_remote_code)


def with_settings(chosen: RunConfig, texts: Sequence[str]) -> RunConfig:
    """Return a copy with what --set says. Raises UserError for what is no setting."""
    for text in texts:
        path, separator, value = text.partition("=")
        if not separator:
            raise UserError(f"“{text}” is not a setting.", "Write it as --set stage.key=value.")
        chosen = chosen.with_setting(path.strip(), value.strip())
    return chosen


def cluster(given: argparse.Namespace) -> Resources | None:
    """Return what each run takes of the Ray cluster, None for this machine. Raises UserError where none can be reached."""
    if given.backend != "ray":
        if given.cpus is not None or given.gpus is not None:
            raise UserError("--cpus and --gpus are reserved on a cluster.", "Add --backend ray, or leave them out.")
        return None
    resources = Resources(1.0 if given.cpus is None else given.cpus, given.gpus)
    ray_cluster.check()
    return resources


HEADS = tuple(
    f"{letter} {asked.outcome_name(outcome)}" if outcome == asked.STILL_SAID[scope] else asked.outcome_name(outcome)
    for letter, scope in (("U", "unlearn"), ("R", "retention"))
    for outcome in asked.OUTCOMES[scope]
)
"""outcomes of both scopes as heads of a table"""


def _said(measured: Scores) -> list[str]:
    """Return what was said when asked, as lines: how many of how many questions, a row a kind of question and voice."""
    if not asked.kinds(measured):
        return []
    rows: list[list[Any]] = [["", "", *HEADS]]
    for kind in asked.kinds(measured):
        for voice in asked.voices(measured):
            said = [asked.outcomes(measured, voice, scope, kind) for scope in SCOPES]
            cells = [_counted(each, outcome) for each in said if each for outcome in each.shares]
            if len(cells) == len(HEADS):
                rows.append([asked.KIND_NAMES[kind], asked.voice_name(voice), *cells])
    sentences = [asked.sentence(measured), asked.contradiction(measured)]
    head = "Asked: what the answers say, of U to forget and R to keep, with 95 % intervals of what is still said:"
    return [*filter(None, sentences), head, *table(rows), *asked.besides(measured)]


def _counted(said: asked.Outcomes, outcome: str) -> str:
    """Write how many answers came out so; of facts that are said, the interval too."""
    share = said.shares[outcome]
    ends = outcome in asked.STILL_SAID.values() and share.low is not None and share.high is not None
    return said.in_words(outcome) + (f" ({share.low:.0f} to {share.high:.0f} %)" if ends else "")


def said_of(measured: Scores) -> list[str | None]:
    """Return a run's cells in a list of runs, under the heads SAID_OF; empty ones where nothing was asked."""
    said = asked.brief(measured)
    return [said.kind, said.leaked, said.noise, said.kept] if said else [None] * len(SAID_OF)


SAID_OF = ("asked", "U leaked", f"U {asked.GIBBERISH}", "R kept")
"""the kind of question; how many answers say what is to be forgotten, are noise, say what is to be kept"""


def scores(run: Run) -> list[str]:
    """Return a run's score table as lines."""
    record, measured = summary(run), Scores.read_once(run)
    rows: list[list[Any]] = [["", "U-train", "U-val", "R-train", "R-val"]]
    for voice, key in VOICE_KEYS.items():
        label = asked.voice_name(voice)
        if key not in record:
            continue
        if "reason" in record[key]:
            rows.append([f"{label}: {record[key]['reason']}", "", "", "", ""])
            continue
        unlearned, kept = record[key]["unlearn_success"], record[key]["retention_success"]
        rows.append([label, unlearned.get("train"), unlearned.get("val"), kept.get("train"), kept.get("val")])
    lines = [run.id, *_said(Scores.read_once(run))]
    lines += [f"{asked.NEXT_WORD.capitalize()}: Unlearn Success (U, 100 − accuracy), Retention Success (R), percent:"]
    lines += table(rows)
    lines.append(never_knew.in_words(measured))
    located = record["located"]
    if record["degenerate"] is not None:
        lines.append(f"Answers on U-val that are {asked.GIBBERISH}: {record['degenerate']:.1f} %")
    if located["count"]:
        share = located["share_of_parameters"]
        lines.append(f"Region: {located['count']} of {located['total']} tensors, {share:.1f} % of the adapter's parameters")
    lines.append("Seconds: " + ", ".join(f"{name} {seconds:.0f}" for name, seconds in record["seconds"].items()))
    return lines
