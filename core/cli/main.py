"""The command line: `python -m core COMMAND`. Results on stdout, progress and messages on stderr.

Exit status: 0 done, 1 user error (one readable line), 2 wrong usage, 130 cancelled. The table VERBS names the functions of
each verb as text: a verb's module is imported when that verb is given, so that the others stay quick.
"""

from __future__ import annotations

import argparse
import json
import pkgutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.util.errors import UserError
from core.util.version import version


@dataclass(frozen=True)
class Verb:
    """One command."""

    help: str
    """one line"""
    run: str
    """"module:function" that takes the options and returns the exit status"""
    options: str = ""
    """"module:function" that adds the verb's own options to its parser; empty where it has none"""


VERBS = {
    "run": Verb(
        "teach, localize, unlearn and evaluate; without options the demo", "core.cli.run:run", "core.cli.run:options"
    ),
    "sweep": Verb(
        "many runs: methods × regions × seeds × settings, one worker, tuning",
        "core.cli.sweep:sweep",
        "core.cli.sweep:options",
    ),
    "controls": Verb(
        "a finished run's method and settings on other regions", "core.cli.sweep:of_run", "core.cli.sweep:control_options"
    ),
    "plant": Verb(
        "teach facts into chosen modules: which score finds them?", "core.cli.plant:plant", "core.cli.plant:options"
    ),
    "requests": Verb(
        "forget one subject after the other: does the first come back?",
        "core.cli.sweep:requests",
        "core.cli.sweep:request_options",
    ),
    "audit": Verb(
        "ask and measure two models made elsewhere, before and after", "core.cli.audit:audit", "core.cli.audit:options"
    ),
    "plan": Verb(
        "what a run would need: memory by part, seconds a stage, disk; without weights",
        "core.cli.plan:show",
        "core.cli.plan:options",
    ),
    "runs": Verb("list all runs, or examine them", "core.cli.runs:runs", "core.cli.runs:options"),
    "show": Verb("settings and scores of a run", "core.cli.runs:show", "core.cli.terminal:one_run"),
    "compare": Verb("scores of several runs side by side", "core.cli.runs:compare", "core.cli.terminal:several_runs"),
    "answers": Verb("ask a finished run's model, before and after", "core.cli.answers:answers", "core.cli.answers:options"),
    "serve": Verb(
        "serve a finished run's models to programs, in OpenAI's form", "core.cli.serve:serve", "core.cli.serve:options"
    ),
    "reference": Verb(
        "teach a model all but what was to be forgotten, and measure a run against it",
        "core.cli.reference:reference",
        "core.cli.terminal:one_run",
    ),
    "probes": Verb(
        "try to get back what was forgotten; without a run: list the probes",
        "core.cli.probes:run",
        "core.cli.probes:options",
    ),
    "report": Verb("write a run's report, one HTML file for anybody", "core.cli.report:report", "core.cli.report:options"),
    "site": Verb("write runs as a site without a server", "core.cli.report:site", "core.cli.report:site_options"),
    "verify": Verb("is a run, a report or a site, what it says?", "core.cli.verify:verify", "core.cli.verify:options"),
    "harness": Verb(
        "lm-evaluation-harness tasks (needs pip install lm-eval)",
        "core.cli.lm_eval_harness:harness",
        "core.cli.lm_eval_harness:options",
    ),
    "export": Verb(
        "write runs as one archive, or a run's model, tables, answers or card",
        "core.cli.export:export",
        "core.cli.export:options",
    ),
    "import": Verb(
        "take the runs of an archive in, after checking it", "core.cli.export:import_", "core.cli.export:import_options"
    ),
    "presets": Verb(
        "list named sets of settings; of a published one each value with its source",
        "core.cli.presets:presets",
        "core.cli.presets:options",
    ),
    "methods": Verb(
        "list unlearning methods and region rules", "core.cli.list_verbs:methods", "core.cli.list_verbs:options"
    ),
    "metrics": Verb("list metrics", "core.cli.list_verbs:metrics"),
    "models": Verb("list models that are here, and how to name others", "core.cli.list_verbs:models"),
    "licences": Verb("list packages and assets with their licences", "core.cli.list_verbs:licences"),
    "doctor": Verb("say what is installed and what is wrong", "core.cli.doctor:doctor"),
}
"""name -> command, in the order of --help"""


class _Command(argparse.ArgumentParser):
    """The parser of a verb, which learns the verb's own options when the verb is given."""

    verb: Verb | None = None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Add the options, then parse."""
        if self.verb:
            verb, self.verb = self.verb, None
            self.set_defaults(run=pkgutil.resolve_name(verb.run))
            self.add_argument("--json", action="store_true", help="one JSON object on stdout, as its last line")
            self.add_argument("--runs", metavar="DIR", help="folder of runs (default: FORGETSCOPE_RUNS or ./runs)")
            if verb.options:
                pkgutil.resolve_name(verb.options)(self)
        return super().parse_known_args(args, namespace)


def parser() -> argparse.ArgumentParser:
    """Build the parser: one subcommand a verb."""
    top = argparse.ArgumentParser(prog="python -m core", description="Make a language model forget, and check that it did.")
    top.add_argument("--version", action="version", version=version())
    commands = top.add_subparsers(dest="verb", required=True, metavar="COMMAND", parser_class=_Command)
    for name, verb in VERBS.items():
        commands.add_parser(name, help=verb.help, description=verb.help).verb = verb
    return top


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
    except BrokenPipeError:  # whoever read it, `head` say, has had enough
        return 0
