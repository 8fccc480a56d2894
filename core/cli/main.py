"""The command line: `python -m core COMMAND`. Results on stdout, progress and messages on stderr.

Exit status: 0 done, 1 user error (one readable line), 2 wrong usage, 130 cancelled.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from core.cli import audit, lists, plan, probes, report, sweep
from core.cli import run as commands
from core.util.errors import UserError
from core.util.version import version


def parser() -> argparse.ArgumentParser:
    """Build the parser: one subcommand a verb."""
    top = argparse.ArgumentParser(prog="python -m core", description="Make a language model forget, and check that it did.")
    top.add_argument("--version", action="version", version=version())
    verbs = top.add_subparsers(dest="verb", required=True, metavar="COMMAND")

    def verb(name: str, help_: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        command = verbs.add_parser(name, help=help_, description=help_)
        command.set_defaults(run=run)
        command.add_argument("--json", action="store_true", help="one JSON object on stdout, as its last line")
        command.add_argument("--runs", metavar="DIR", help="folder of runs (default: FORGETSCOPE_RUNS or ./runs)")
        return command

    _making(verb)
    _reading(verb)
    _telling(verb)
    return top


Verb = Callable[[str, str, Callable[[argparse.Namespace], int]], argparse.ArgumentParser]


def _making(verb: Verb) -> None:
    """Add the verbs that make runs."""
    run = verb("run", "teach, localize, unlearn and evaluate; without options the demo", commands.run)
    _run_options(run)
    run.add_argument(
        "--processes", metavar="N", help="processes that share the run's examples, one GPU each if there are any"
    )
    run.add_argument("--resume", metavar="RUN", help="go on with one that was cancelled, failed or killed")
    _where_options(run)
    many = verb("sweep", "many runs: methods × regions × seeds × settings, one worker, tuning", sweep.sweep)
    _run_options(many)
    _where_options(many)
    sweep.options(many)
    control = verb("controls", "a finished run's method and settings on other regions", sweep.of_run)
    control.add_argument("id", metavar="RUN")
    control.add_argument("--anew", action="store_true", help="make them again where they exist")
    forget = verb("requests", "forget one subject after the other: does the first come back?", sweep.requests)
    _run_options(forget)
    forget.add_argument("--subjects", metavar="A,B,C", help="in the order of the requests")
    forget.add_argument("--resume", metavar="SWEEP", help="go on with what is not done")
    audit.options(verb("audit", "ask and measure two models made elsewhere, before and after", audit.audit))
    needs = verb("plan", "what a run would need: memory by part, seconds a stage, disk; without weights", plan.show)
    _run_options(needs)
    plan.options(needs)


def _reading(verb: Verb) -> None:
    """Add the verbs about runs that are there."""
    listed = verb("runs", "list all runs, or examine them", commands.runs)
    listed.add_argument("--check", action="store_true", help="examine all runs: hashes, truncated files, missing stages")
    listed.add_argument("--repair", action="store_true", help="examine, and mend what can be mended without guessing")
    verb("show", "settings and scores of a run", commands.show).add_argument("id", metavar="RUN")
    verb("compare", "scores of several runs side by side", commands.compare).add_argument("ids", metavar="RUN", nargs="+")
    answers = verb("answers", "ask a finished run's model, before and after", commands.answers)
    answers.add_argument("id", metavar="RUN")
    answers.add_argument("--ask", metavar="QUESTION", action="append", required=True, help="may be given several times")
    answers.add_argument("--never", action="store_true", help="also ask the model that was never taught")
    verb(
        "reference", "teach a model all but what was to be forgotten, and measure a run against it", commands.reference
    ).add_argument("id", metavar="RUN")
    probes.options(verb("probes", "try to get back what was forgotten; without a run: list the probes", probes.run))
    report.report_options(verb("report", "write a run's report, one HTML file for anybody", report.report))
    report.verify_options(verb("verify", "is a run, or a report, what it says?", report.verify))
    harness = verb("harness", "lm-evaluation-harness tasks (needs pip install lm-eval)", commands.harness)
    harness.add_argument("id", metavar="RUN")
    harness.add_argument(
        "--tasks", metavar="A,B", required=True, help="as the harness names them, e.g. arc_easy,truthfulqa_mc2"
    )
    harness.add_argument("--voices", metavar="A,B", default="before,after,never", help="default: before,after,never")
    harness.add_argument("--limit", metavar="N", type=int, help="examples of each task (default: all)")
    export = verb("export", "write runs as one archive, or a run's model, tables, answers or card", report.export)
    export.add_argument("ids", metavar="RUN", nargs="+")
    export.add_argument("-o", "--output", metavar="FILE", required=True, help="the file to write (a folder for --as merged)")
    report.export_options(export)
    taken = verb("import", "take the runs of an archive in, after checking it", report.import_)
    taken.add_argument("file", metavar="FILE")


def _telling(verb: Verb) -> None:
    """Add the verbs that tell what is here."""
    methods = verb("methods", "list unlearning methods and region rules", lists.methods)
    methods.add_argument("names", metavar="NAME", nargs="*", help="only these")
    verb("metrics", "list metrics", lists.metrics)
    verb("models", "list models that are here, and how to name others", lists.models)
    verb("licences", "list packages and assets with their licences", lists.licences)
    verb("doctor", "say what is installed and what is wrong", commands.doctor)


def _run_options(run: argparse.ArgumentParser) -> None:
    run.add_argument("--config", metavar="FILE", help="JSON configuration, as `show --json` prints it")
    run.add_argument("--preset", metavar="NAME", help="this-machine (default), recommended, fluent, paper or paper-code")
    run.add_argument("--model", metavar="M", help="bundled (default), hub id, folder, GGUF file or adapter folder")
    run.add_argument("--data", metavar="D", help="demo (default), knowundo (hub), folder or file")
    run.add_argument("--subset", metavar="S", help="privacy (default), copyright, …")
    run.add_argument("--method", metavar="NAME", help="see `methods`; or FILE.py:CLASS, a method of your own")
    run.add_argument(
        "--region",
        metavar="RULE",
        help=(
            "located (default), all, random, complement, top:20%%, late:33%%, ratio-layers:5, separable, layers:A-B, "
            "modules:NAME,…"
        ),
    )
    run.add_argument("--set", metavar="STAGE.KEY=VALUE", action="append", default=[], help="any setting; may be repeated")
    run.add_argument("--trust-remote-code", action="store_true", help="let a hub repository run its own code")
    run.add_argument("--name", metavar="NAME", help="shown in lists")


def _where_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--backend", choices=("local", "ray"), default="local", help="ray: each run a task on a Ray cluster"
    )
    command.add_argument("--cpus", metavar="N", type=float, help="with --backend ray: CPUs, and threads, of each run (1)")
    command.add_argument("--gpus", metavar="N", type=float, help="with --backend ray: GPUs of each run (1 if there are any)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    given: Any = parser().parse_args(arguments)
    try:
        return int(given.run(given))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        if given.json:
            sys.stdout.write(json.dumps({"error": error.what, "fix": error.fix}) + "\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return 130
    except BrokenPipeError:
        return 0
