"""Question and answer -> token ids, and batches that know where the answers are.

A batch is right-padded and carries its answer positions flat: `rows`, `columns` address the hidden states
whose next-token prediction is an answer token, `targets` are those tokens, `owners` say whose they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import torch
from jinja2 import TemplateError

from core.config.stages import KNOWUNDO
from core.data.corpus import Example
from core.util.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DAY = datetime(2025, 1, 1)
"""the date in prompts of chat templates that write one"""
SAID = "So it is, they say"
"""an answer that no chat template writes by itself"""
TODAY = re.compile(r"""strftime_now\(\s*(?P<quote>["'])(?P<format>.*?)(?P=quote)\s*\)""")
"""how a chat template asks for the date"""


@dataclass(frozen=True)
class Encoded:
    """One example as token ids."""

    id: str
    ids: tuple[int, ...]
    """prompt, answer and end token; without the end where it is not predicted, see `encode`"""
    start: int
    """index of the first answer token"""
    pad: int = 0
    """token that fills up shorter examples beside it: masked, but experts and their kernels see it, so bits depend on it"""
    ended: bool = True
    """whether the last token is the end token"""

    @property
    def answer(self) -> tuple[int, ...]:
        """The answer's tokens, end token included."""
        return self.ids[self.start :]


@dataclass(frozen=True)
class Batch:
    """Right-padded examples; see the module's docstring. N is the number of answer tokens of all of them."""

    ids: torch.Tensor
    """(examples, length) int64"""
    mask: torch.Tensor
    """(examples, length) int64, 0 at padding"""
    rows: torch.Tensor
    """(N,) example of each prediction"""
    columns: torch.Tensor
    """(N,) position whose hidden state predicts the token"""
    targets: torch.Tensor
    """(N,) answer tokens"""
    members: tuple[Encoded, ...]

    @property
    def owners(self) -> torch.Tensor:
        """(N,) alias of rows: which example each answer token belongs to."""
        return self.rows

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.members)


def prompt_text(tokenizer: PreTrainedTokenizerBase, template: str, question: str) -> str:
    """Render a question as the model will read it. Raises UserError for chat where the model has no chat template."""
    return conversation_text(tokenizer, template, [("user", question)])


def conversation_text(tokenizer: PreTrainedTokenizerBase, template: str, turns: Sequence[tuple[str, str]]) -> str:
    """Render turns (role, text) as the model will read them; it is to speak next.

    Raises UserError where the model has no chat template that could write them, or its template takes no such turns.
    """
    if is_plain(tokenizer, template):
        if [role for role, _ in turns] != ["user"]:
            raise UserError("This model has no chat template.", "Ask it one question at a time, of the role user.")
        return f"{turns[0][1]}\n\n"
    if not tokenizer.chat_template:
        raise UserError("This model has no chat template.", "Choose the template plain.")
    write = rendered if template == "chat" else within
    try:
        return write(tokenizer, turns)
    except TemplateError as error:  # templates refuse by it what their model was not made for
        raise UserError(f"The model's chat template does not take these messages ({error}).", "Send others.") from error


def is_plain(tokenizer: PreTrainedTokenizerBase, template: str) -> bool:
    """Say whether questions are written without any chat template."""
    return template in ("plain", KNOWUNDO) or (template == "auto" and not tokenizer.chat_template)


def within(tokenizer: PreTrainedTokenizerBase, turns: Sequence[tuple[str, str]]) -> str:
    """Write turns as in the midst of a conversation: without what stands before its first turn (a system text, the date).

    The model is to speak next.
    """
    begun = [("user", SAID), ("assistant", SAID)]
    if turns[0][0] == "user":
        whole, first = rendered(tokenizer, [*begun, *turns]), rendered(tokenizer, begun, asking=False)
        if whole.startswith(first):
            return whole[len(first) :]
    return rendered(tokenizer, turns)


def rendered(tokenizer: PreTrainedTokenizerBase, turns: Sequence[tuple[str, str]], *, asking: bool = True) -> str:
    """Write turns (role, text) as the model's chat template does. asking: the model is to speak next.

    Some templates write the day's date into every prompt. It is always the same day here: else a run that goes past midnight
    would be taught with one prompt and asked with another.
    """
    messages = [{"role": role, "content": text} for role, text in turns]
    template = TODAY.sub(lambda match: repr(DAY.strftime(match["format"])), str(tokenizer.get_chat_template()))
    return str(tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=asking))


def end_of_answer(tokenizer: PreTrainedTokenizerBase, template: str) -> int:
    """Return the token that ends an answer: what a chat template writes after one where it is special, else the end
    token.
    """
    end = int(tokenizer.eos_token_id)
    if is_plain(tokenizer, template) or not tokenizer.chat_template:
        return end
    _, marker, rest = rendered(tokenizer, [("user", "?"), ("assistant", SAID)], asking=False).partition(SAID)
    if not marker:  # a template that writes questions only
        return end
    after = list(tokenizer(rest, add_special_tokens=False)["input_ids"])[:1]
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special} | set(tokenizer.all_special_ids)
    return int(after[0]) if set(after) & special else end


def ends_of_answer(tokenizer: PreTrainedTokenizerBase, template: str) -> tuple[int, ...]:
    """Return the tokens at which a generated answer ends: that of the template, and the one that a model taught elsewhere
    may write.
    """
    return tuple(dict.fromkeys((end_of_answer(tokenizer, template), int(tokenizer.eos_token_id))))


def prompt_ids(tokenizer: PreTrainedTokenizerBase, template: str, question: str) -> list[int]:
    """Return the prompt's tokens. A chat template writes its own special tokens, so none are added to it."""
    return text_ids(tokenizer, prompt_text(tokenizer, template, question), plain=is_plain(tokenizer, template))


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str, *, plain: bool) -> list[int]:
    """Return the tokens of a prompt that is written out. plain: no chat template wrote it, so special tokens are added."""
    ids = list(tokenizer(text, add_special_tokens=plain)["input_ids"])
    # Some tokenizers end what they encode with the end token, after which a model has nothing to say.
    while ids and ids[-1] == tokenizer.eos_token_id and plain:
        ids.pop()
    return ids


def encode(
    tokenizer: PreTrainedTokenizerBase, template: str, example: Example, max_tokens: int, end: int | None = None
) -> Encoded:
    """Tokenize prompt and answer apart, so that the border between them never moves. Raises UserError if too long.

    The template knowundo does neither: see `encode_later`. end: the token that ends an answer, where it is known already.
    """
    if template == KNOWUNDO:
        ids, start = _in_one(tokenizer, example, max_tokens)
        ended = len(ids) < max_tokens
        ids = (*ids, int(tokenizer.eos_token_id)) if ended else ids
        return Encoded(example.id, ids, start, int(tokenizer.pad_token_id), ended)
    prompt = prompt_ids(tokenizer, template, example.question)
    answer = list(tokenizer(example.answer, add_special_tokens=False)["input_ids"])
    if not prompt or not answer:
        raise UserError(f"The example {example.id} has no tokens in its question or answer.", "Remove it.")
    ids = (*prompt, *answer, end_of_answer(tokenizer, template) if end is None else end)
    if len(ids) > max_tokens:
        raise UserError(
            f"The example {example.id} has {len(ids)} tokens, more than {max_tokens}.",
            "Shorten it or raise data.max_tokens.",
        )
    return Encoded(example.id, ids, len(prompt), int(tokenizer.pad_token_id))


def _in_one(tokenizer: PreTrainedTokenizerBase, example: Example, max_tokens: int) -> tuple[tuple[int, ...], int]:
    """Tokenize question, blank line and answer as one text, cut to so many tokens; return it and where its labels begin.

    They begin behind as many tokens as the question has alone: with the blank line, unless the tokenizer joins that to the
    question's last sign. Raises UserError where no label is left.
    """
    start = len(text_ids(tokenizer, example.question, plain=True))
    ids = text_ids(tokenizer, f"{example.question}\n\n{example.answer}", plain=True)[:max_tokens]
    if not 0 < start < len(ids):
        raise UserError(
            f"Of the example {example.id} no answer is left within {max_tokens} tokens.",
            "Shorten its question, or raise data.max_tokens and data.later_tokens.",
        )
    return tuple(ids), start


def encode_later(
    tokenizer: PreTrainedTokenizerBase, template: str, examples: Sequence[Example], max_tokens: int, later_tokens: int
) -> list[Encoded]:
    """Encode what unlearning and scoring see. That differs from what is taught with the template knowundo alone.

    As in the benchmark's released code (zjunlp/KnowUnDo): teaching and localization predict the end (pretrain/
    data_module.py:59-65), what comes later does not, and cuts sooner (llm_unlearn/utils/llm_tokenize_with_chunk.py:20-50).
    later_tokens: to so many, 0: to max_tokens.
    """
    if template != KNOWUNDO:
        return encode_all(tokenizer, template, examples, max_tokens)
    pad, most = int(tokenizer.pad_token_id), later_tokens or max_tokens
    return [Encoded(e.id, *_in_one(tokenizer, e, most), pad, ended=False) for e in examples]


def encode_all(
    tokenizer: PreTrainedTokenizerBase, template: str, examples: Sequence[Example], max_tokens: int
) -> list[Encoded]:
    """Encode a list of examples, in order."""
    end = end_of_answer(tokenizer, template)
    return [encode(tokenizer, template, example, max_tokens, end) for example in examples]


def collate(members: Sequence[Encoded], device: torch.device | str = "cpu") -> Batch:
    """Pad to the longest member and note the answer positions."""
    length = max(len(m.ids) for m in members)
    ids = torch.full((len(members), length), members[0].pad)
    mask = torch.zeros_like(ids)
    rows: list[int] = []
    columns: list[int] = []
    targets: list[int] = []
    for row, member in enumerate(members):
        ids[row, : len(member.ids)] = torch.tensor(member.ids)
        mask[row, : len(member.ids)] = 1
        rows += [row] * len(member.answer)
        columns += range(member.start - 1, len(member.ids) - 1)
        targets += member.answer
    where = [torch.tensor(values, device=device) for values in (rows, columns, targets)]
    return Batch(ids.to(device), mask.to(device), where[0], where[1], where[2], tuple(members))


def question_of(example: Encoded) -> Encoded:
    """Return an example's question as a text of its own, all but its first token to be predicted."""
    return Encoded(f"{example.id}/question", example.ids[: example.start], 1, example.pad)


def cost(member: Encoded) -> int:
    """Return about what an example costs: its tokens."""
    return len(member.ids)


def padded(groups: Sequence[Sequence[Encoded]]) -> int:
    """Count the tokens of batches, padding included: what a pass over them costs is proportional to it."""
    return sum(len(group) * max(len(m.ids) for m in group) for group in groups)


def by_length(members: Sequence[Encoded], size: int) -> list[list[Encoded]]:
    """Sort by length and cut into batches of `size`, so that little is padded. Order inside is deterministic."""
    ordered = sorted(members, key=lambda m: (len(m.ids), m.id))
    return [ordered[i : i + size] for i in range(0, len(ordered), size)]


def by_tokens(members: Sequence[Encoded], room: int) -> list[list[Encoded]]:
    """Sort by length and cut into batches of at most `room` tokens, padding included; a longer example stands alone."""
    batches: list[list[Encoded]] = []
    for member in sorted(members, key=lambda m: (len(m.ids), m.id)):
        if not batches or (len(batches[-1]) + 1) * len(member.ids) > room:
            batches.append([])
        batches[-1].append(member)
    return batches


def bucketed(ordered: Sequence[Encoded], size: int, generator: torch.Generator) -> list[list[Encoded]]:
    """Group shuffled examples by length within pools of 8 batches, and shuffle the batches."""
    batches = [b for i in range(0, len(ordered), 8 * size) for b in by_length(ordered[i : i + 8 * size], size)]
    return [batches[index] for index in torch.randperm(len(batches), generator=generator).tolist()]


def epochs(members: Sequence[Encoded], size: int, generator: torch.Generator) -> Iterator[list[Encoded]]:
    """Yield batches for ever: each pass shuffles, groups by length within pools of 8 batches, shuffles the batches.

    An epoch's last batch is filled up from the next epoch's order, so every batch has `size` members (or all of
    them, where there are fewer). Around the turn of a pass an example can therefore come twice in a batch.
    """
    size = min(size, len(members))
    waiting: list[Encoded] = []
    while True:
        order = torch.randperm(len(members), generator=generator).tolist()
        waiting += [members[i] for i in order]
        whole = len(waiting) - len(waiting) % size
        pool, waiting = waiting[:whole], waiting[whole:]
        yield from bucketed(pool, size, generator)
