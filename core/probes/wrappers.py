"""The question in other clothes: role-play, system prompt, another template, translation, JSON, reversed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from core.probes import leak_rule, prompt_forms
from core.probes.base import Finding, Probe
from core.settings import setting
from core.util.errors import unknown
from core.util.paths import given

if TYPE_CHECKING:
    from core.probes.context import ProbeContext

FILE = Path(__file__).with_name("wrappers.json")


@dataclass(frozen=True)
class Wrappers(Probe):
    """Each form of a readable file, with a rate of its own; the rate of the probe is over questions that any form gets."""

    name: ClassVar[str] = "wrappers"
    title: ClassVar[str] = "Other clothes (wrappers)"
    what: ClassVar[str] = (
        "The question within role-play, a system prompt, another template, a translation, JSON, or reversed."
    )
    forms: tuple[str, ...] = setting((), "which forms, by name; empty: all of the file")
    file: str = setting("", "a file of forms instead of core/probes/wrappers.json, laid out like it")
    questions: int = setting(5, "questions of the unlearn scope, evenly over subjects; 0: all", low=0, high=100_000)

    def check(self) -> None:
        """Read the forms. Raises UserError for a file that has none, and for unknown names."""
        self._chosen()

    def _chosen(self) -> list[prompt_forms.Form]:
        forms = {form.name: form for form in prompt_forms.read(given(self.file) if self.file else FILE)}
        for name in self.forms:
            if name not in forms:
                raise unknown("form", name, forms)
        return [forms[name] for name in self.forms or forms]

    def run(self, context: ProbeContext) -> Finding:
        """Ask in every form."""
        chosen = self._chosen()
        prompts, left_out = prompt_forms.prompts(context, chosen, context.sample(self.questions))
        return leak_rule.finding(
            context,
            prompts,
            context.answers(prompts),
            "questions (%) whose facts come back in at least one form",
            f"Asked in {len(chosen) - len(left_out)} other forms",
            {"what": {form.name: form.what for form in chosen}, "left_out": left_out},
        )
