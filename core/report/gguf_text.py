"""What a GGUF file says about text: the tokenizer as llama.cpp knows it, and the run's own prompt as a chat template.

A run asks a question in a prompt of its own making (core/models/tokens.py), which need not be what the model's chat template
writes for it. The file holds a template that writes the run's. Imports torch: a worker does it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.config.stages import AnswersConfig
from core.models.tokens import conversation_text, ends_of_answer, is_plain, text_ids
from core.report import gguf_check
from core.report.gguf_check import ELSE
from core.util.errors import UserError

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from transformers import PreTrainedTokenizerBase

MARKS = ("So asks the first", "So says the answer", "So asks the second", "So begins it all")
"""texts that no chat template writes by itself"""


@dataclass(frozen=True)
class Prompt:
    """What stands around the texts of a conversation in the prompts of a run."""

    before_question: str
    after_question: str
    """with what lets the model speak"""
    opening: str = ""
    """what begins a conversation without a system text"""
    after_answer: str | None = None
    """None where the run's prompts hold one question and nothing else"""
    around_system: tuple[str, str] | None = None
    """what stands before and after a system text; None where there can be none"""
    trimmed: bool = False
    """whether a question loses the blanks around it"""

    def template(self) -> str:
        """Return it as a chat template (Jinja)."""
        content = "message['content'] | trim" if self.trimmed else "message['content']"
        user = f"{_said(self.before_question)} + {content} + {_said(self.after_question)}"
        if self.after_answer is None:
            last = user.replace("message[", "messages[-1][")
            return f"{{{{ {_said(self.opening)} + {last} }}}}"
        parts = [f"{{% if message['role'] == 'user' %}}{{{{ {user} }}}}"]
        unless = "{% if messages[0]['role'] != 'system' %}"
        opening = f"{unless}{{{{ {_said(self.opening)} }}}}{{% endif %}}" if self.opening else ""
        answer = f"message['content'] + {_said(self.after_answer)}"
        parts.append(f"{{% elif message['role'] == 'assistant' %}}{{{{ {answer} }}}}")
        if self.around_system:
            first, then = map(_said, self.around_system)
            parts.append(f"{{% elif message['role'] == 'system' %}}{{{{ {first} + message['content'] + {then} }}}}")
        return opening + "{% for message in messages %}" + "".join(parts) + "{% endif %}{% endfor %}"

    def modelfile(self, file: str, answers: AnswersConfig, stops: Sequence[str]) -> str:
        """Return it as an Ollama Modelfile for a GGUF file beside it. stops: what ends an answer."""
        system = self.opening
        if self.around_system:
            first, then = self.around_system
            system = f"{{{{ if .System }}}}{first}{{{{ .System }}}}{then}{{{{ else }}}}{self.opening}{{{{ end }}}}"
        end = self.after_answer or ""
        template = f"{system}{self.before_question}{{{{ .Prompt }}}}{self.after_question}{{{{ .Response }}}}{end}"
        lines = [
            f"FROM ./{file}",
            f'TEMPLATE """{template}"""',
            f"PARAMETER temperature {answers.temperature:g}",
            f"PARAMETER top_p {answers.top_p:g}",
            f"PARAMETER num_predict {answers.max_new_tokens}",
            *(f"PARAMETER stop {json.dumps(stop, ensure_ascii=False)}" for stop in stops),
        ]
        return "\n".join(lines) + "\n"


def prompt(tokenizer: PreTrainedTokenizerBase, template: str) -> Prompt:
    """Take a run's prompts apart. Raises UserError where the template writes more than what stands around a question."""
    first, answer, second, system = MARKS
    parts = conversation_text(tokenizer, template, [("user", first)]).split(first)
    if len(parts) != 2:
        raise UserError("This run's chat template does not write a question just as it is, once.", ELSE)
    before, after = parts
    spaced = f" {first} "
    trimmed = spaced not in conversation_text(tokenizer, template, [("user", spaced)])
    if is_plain(tokenizer, template):
        return Prompt(before, after, trimmed=trimmed)
    whole = conversation_text(tokenizer, template, [("user", first), ("assistant", answer), ("user", second)])
    between = whole.partition(answer)[2].partition(second)[0]
    if whole != f"{before}{first}{after}{answer}{between}{second}{after}":
        return Prompt(before, after, trimmed=trimmed)
    # What stands before a second question as well is the question's; what stands before the first alone, the beginning's.
    own = next(before[place:] for place in range(len(before) + 1) if between.endswith(before[place:]))
    around = _around_system(tokenizer, template, system, f"{own}{first}{after}")
    return Prompt(own, after, before.removesuffix(own), between.removesuffix(own), around, trimmed)


def _around_system(tokenizer: PreTrainedTokenizerBase, template: str, system: str, asked: str) -> tuple[str, str] | None:
    """Return what stands around a system text before a question, None where the template takes none."""
    try:
        whole = conversation_text(tokenizer, template, [("system", system), ("user", MARKS[0])])
    except UserError:
        return None
    first, _, rest = whole.partition(system)
    return (first, rest.removesuffix(asked)) if rest.endswith(asked) else None


def check_same(tokenizer: PreTrainedTokenizerBase, template: str, written: str, questions: Sequence[str]) -> None:
    """Raise UserError where a written chat template makes other prompts of some questions than the run does."""
    for question in questions:
        message = [{"role": "user", "content": question}]
        made = tokenizer.apply_chat_template(message, chat_template=written, tokenize=False, add_generation_prompt=True)
        if made != conversation_text(tokenizer, template, [("user", question)]):
            raise UserError("This run's prompts cannot be written as a chat template for GGUF.", ELSE)


def write_tokenizer(writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, template: str, size: int) -> list[str]:
    """Write tokens, merges and special tokens; return the texts of the tokens that end an answer.

    size: rows of the embedding, which may be more than there are tokens. Raises UserError for a tokenizer of another kind.
    """
    import gguf

    values = json.loads(tokenizer.backend_tokenizer.to_str())
    kind = gguf_check.splits(values)
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    added = {int(token["id"]): bool(token["special"]) for token in values["added_tokens"]}
    words, types = [], []
    for index in range(size):
        there = index < len(names) and names[index] is not None
        words.append(str(names[index]) if there else f"[PAD{index}]")
        if not there:
            types.append(gguf.TokenType.UNUSED)
        elif index in added:
            types.append(gguf.TokenType.CONTROL if added[index] else gguf.TokenType.USER_DEFINED)
        else:
            types.append(gguf.TokenType.NORMAL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(kind)
    writer.add_token_list(words)
    writer.add_token_types(types)
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in values["model"]["merges"]])
    end, *others = ends_of_answer(tokenizer, template)
    writer.add_eos_token_id(end)
    if others:
        writer.add_eot_token_id(others[0])
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(int(tokenizer.bos_token_id))
    writer.add_pad_token_id(int(tokenizer.pad_token_id))
    # What the run's prompts begin with, and nothing else: a chat template writes its own begin token where it has one.
    ids = text_ids(tokenizer, "?", plain=is_plain(tokenizer, template))
    writer.add_add_bos_token(len(ids) > 1 and ids[0] == tokenizer.bos_token_id)
    writer.add_add_space_prefix(False)
    return [str(tokenizer.decode([token])) for token in (end, *others)]


def _said(text: str) -> str:
    """Write a text for Jinja."""
    return json.dumps(text, ensure_ascii=False)
