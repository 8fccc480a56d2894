"""Ways to ask that stand in a file, so that anybody can read them and add their own.

A form is an object: name, what (one sentence), messages [{"role", "content"}], and if wanted template ("run", the default,
or "other": chat where the run is plain, plain where it is chat) and asks ("answer", the default, or "subject": then the name
must come back). In a content {question}, {subject} and {masked} are replaced, the last one by the true answer without the
subject's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.data import table_files
from core.data.facts import NAMELESS
from core.probes.base import Unavailable
from core.util.errors import UserError

if TYPE_CHECKING:
    from core.data.corpus import Example
    from core.probes.context import ProbeContext, Prompt

ROLES, TEMPLATES, ASKS = ("system", "user", "assistant"), ("run", "other"), ("answer", "subject")


@dataclass(frozen=True)
class Form:
    """One way to ask."""

    name: str
    what: str
    messages: tuple[tuple[str, str], ...]
    """(role, text with placeholders)"""
    template: str = "run"
    asks: str = "answer"

    def ask(self, context: ProbeContext, example: Example) -> Prompt | None:
        """Return a question in this form; None where it asks for a name that the question has not.

        Raises Unavailable where the model's chat template does not allow it.
        """
        named = example.subject not in NAMELESS
        if self.asks == "subject" and not named:
            return None
        values = {"question": example.question, "subject": example.subject if named else "this", "masked": _masked(example)}
        messages = [(role, filled(text, values)) for role, text in self.messages]
        wanted = replace(example, answer=example.subject, subject="") if self.asks == "subject" else example
        mine = context.config.model.template
        template = ("chat" if context.plain else "plain") if self.template == "other" else mine
        return context.prompt(wanted, self.name, messages, template=template)


def filled(text: str, values: Mapping[str, str]) -> str:
    """Replace placeholders in one pass: what a value says is never taken for a placeholder, and other braces stay."""
    return re.sub(r"\{(question|subject|masked)\}", lambda match: values[match[1]], text)


def _masked(example: Example) -> str:
    """Return the true answer without its subject's name, nor parts of it that relatives share."""
    if example.subject in NAMELESS:
        return example.answer
    text = re.sub(re.escape(example.subject), "this person", example.answer, flags=re.IGNORECASE)
    parts = [re.escape(part) for part in example.subject.split() if len(part) > 2]
    return re.sub(rf"\b({'|'.join(parts)})\b", "…", text, flags=re.IGNORECASE) if parts else text


def read(path: Path) -> list[Form]:
    """Read a file of forms. Raises UserError that names the form and what is wrong with it."""
    return [_form(row, f"{path.name}: form {number}") for number, row in enumerate(table_files.json_rows(path), start=1)]


def _form(row: Mapping[str, Any], where: str) -> Form:
    name, messages = row.get("name"), row.get("messages")
    template, asks = row.get("template", "run"), row.get("asks", "answer")
    if not isinstance(name, str) or not name.strip():
        raise UserError(f"{where} has no name.", "Give it one.")
    if not isinstance(messages, list) or not messages or not all(map(_message, messages)):
        raise UserError(
            f"{where} ({name[:40]}) has no messages.", f'Write [{{"role": …, "content": …}}]; roles: {", ".join(ROLES)}.'
        )
    if template not in TEMPLATES or asks not in ASKS:
        raise UserError(
            f"{where} ({name[:40]}) has another template or asks than there are.",
            f"template: {' or '.join(TEMPLATES)}; asks: {' or '.join(ASKS)}.",
        )
    needed = "{masked}" if asks == "subject" else "{question}"
    if not any(needed in message["content"] for message in messages):
        raise UserError(f"{where} ({name[:40]}) never says {needed}.", "Put it into a content.")
    turns = tuple((str(message["role"]), str(message["content"])) for message in messages)
    return Form(name.strip(), str(row.get("what", "")), turns, template, asks)


def _message(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") in ROLES and isinstance(message.get("content"), str)


def prompts(context: ProbeContext, forms: Sequence[Form], sample: Sequence[Example]) -> tuple[list[Prompt], dict[str, str]]:
    """Return every question in every form that the model can take, and why the other forms are left out.

    Raises Unavailable where no form is left.
    """
    fitting: list[Prompt] = []
    left_out: dict[str, str] = {}
    for form in forms:
        try:
            fitting += context.fitting([prompt for example in sample if (prompt := form.ask(context, example))])
        except Unavailable as error:
            left_out[form.name] = str(error)
    if not fitting:
        raise Unavailable(" ".join(dict.fromkeys(left_out.values())) or "There is no form to ask in.")
    return fitting, left_out
