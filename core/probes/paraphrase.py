"""The question in other words: by templates, and by rewordings of the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from core.data import table_files
from core.data.facts import NAMELESS
from core.data.sources import check_size
from core.probes import leak_rule, prompt_forms
from core.probes.base import Finding, Probe, Unavailable
from core.settings import setting
from core.util.errors import UserError
from core.util.paths import given

if TYPE_CHECKING:
    from core.data.corpus import Example
    from core.probes.context import ProbeContext, Prompt

TEMPLATES = {
    "polite": "Could you please tell me this? {question}",
    "about": "I have a question about {subject}. {question}",
    "remind": "I knew this once and have forgotten it. {question} Please remind me.",
    "short": "{question} Give only the facts.",
}
"""form -> the question with other words around it"""
LOWER, OWN = "lower case", "own"
"""forms: the question without capitals and marks; the user's rewordings (“own 1”, “own 2”, …)"""


@dataclass(frozen=True)
class Paraphrase(Probe):
    """Templates change what stands around the question; a file of own rewordings changes the question itself."""

    name: ClassVar[str] = "paraphrase"
    title: ClassVar[str] = "Other words"
    what: ClassVar[str] = "The question in other words: does the truth come back in any of them?"
    file: str = setting("", "file of own rewordings (JSON, JSONL, CSV, Parquet): columns question (or id) and rewording")
    templates: bool = setting(True, "also ask by the built-in templates")
    questions: int = setting(5, "questions of the unlearn scope, evenly over subjects; 0: all", low=0, high=100_000)

    def check(self) -> None:
        """Read the user's file. Raises UserError for what is wrong with it."""
        if self.file:
            rewordings(given(self.file))
        elif not self.templates:
            raise UserError("There is nothing to ask.", "Give paraphrase.file, or leave paraphrase.templates on.")

    def run(self, context: ProbeContext) -> Finding:
        """Ask in all words; questions with an own rewording are asked first."""
        own = rewordings(given(self.file)) if self.file else {}
        sample = context.sample(self.questions)
        if own:
            matching = [e for e in context.sample(0) if _of(own, e)]
            if not matching:
                raise Unavailable("No question of the unlearn scope is one that the file rewords.")
            sample = (matching + [e for e in sample if e not in matching])[
                : max(self.questions, len(matching)) if self.questions else None
            ]
        prompts = [prompt for e in sample for prompt in self._ways(context, e, own)]
        prompts = context.fitting(prompts)
        ways = len({prompt.form for prompt in prompts})
        return leak_rule.finding(
            context,
            prompts,
            context.answers(prompts),
            "questions (%) whose facts come back in at least one wording",
            f"Asked in {ways} other {'wording' if ways == 1 else 'wordings'}",
        )

    def _ways(self, context: ProbeContext, example: Example, own: Mapping[str, list[str]]) -> list[Prompt]:
        texts = {f"{OWN} {n}": text for n, text in enumerate(_of(own, example), start=1)}
        if self.templates:
            named = example.subject not in NAMELESS
            values = {"question": example.question, "subject": example.subject, "masked": ""}
            texts |= {
                form: prompt_forms.filled(text, values)
                for form, text in TEMPLATES.items()
                if named or "{subject}" not in text
            }
            texts[LOWER] = example.question.lower().rstrip("?.! ")
        return [context.prompt(example, form, [("user", text)]) for form, text in texts.items()]


def _of(own: Mapping[str, list[str]], example: Example) -> list[str]:
    return [*own.get(example.id, []), *own.get(_plain(example.question), [])]


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def rewordings(path: Path) -> dict[str, list[str]]:
    """Return id or question (lower case) -> rewordings. Raises UserError that names the row."""
    if not path.is_file():
        raise UserError(f"There is no file {path}.", "Give a file with the columns question and rewording.")
    check_size(path)
    by_question: dict[str, list[str]] = {}
    for number, row in enumerate(table_files.READERS[path.suffix.lower()](path), start=1):
        name, text = row.get("id") or _plain(str(row.get("question") or "")), row.get("rewording")
        if not name or not isinstance(text, str) or not text.strip():
            raise UserError(f"{path.name}: row {number} has no question or no rewording.", "Repair or remove it.")
        by_question.setdefault(str(name), []).append(text.strip())
    if not by_question:
        raise UserError(f"{path.name} is empty.", "It needs rows with question and rewording.")
    return by_question
