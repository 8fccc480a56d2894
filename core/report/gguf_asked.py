"""A GGUF file, asked again before it is handed over: what it still says of what was to be forgotten, against the run.

Rounding and another prompt can bring back what was forgotten. So the file is read from the disk, by another reader than
wrote it (transformers), prompted by the chat template that it holds, and its answers are counted by the rules of the run's
own. Imports torch: a worker does it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.data.corpus import SCOPES, Example
from core.metrics import asked as metric
from core.metrics import evaluation
from core.metrics.base import Evidence
from core.models.loading import Loaded
from core.models.size_limits import quiet
from core.pipeline.voices import Voices
from core.runs import asked as words
from core.runs.store import Run
from core.util.errors import UserError
from core.util.progress import Reporter

NEAR = 3.0
"""percentage points within which the file says as much as the run's own model"""
TOGETHER = 32
"""questions answered in one batch"""


def again(run: Run, path: Path, report: Reporter) -> dict[str, Any]:
    """Ask a GGUF file the questions in free wording, or the kind nearest to that which the run asked after.

    Returns {"kind", "unlearn": {"n", "outcomes": {outcome: {"own", "file"}}}, "retention": …}, counts; only {"kind": ""}
    where the run asked nothing.
    """
    recorded = evaluation.evidence(run)
    kind, examples = questions(run)
    if not kind:
        return {"kind": ""}
    answers, lexicon = _answers(run, path, examples, report)
    return counted(recorded, kind, answers, lexicon)


def questions(run: Run) -> tuple[str, list[Example]]:
    """Return the kind of question that is asked again, and its examples of both scopes that the run asked after."""
    rows = [row for row in run.answers() if "after" in row and row.get("scope") in SCOPES]
    examples = [Example.of_row(row) for row in rows]
    for kind in words.KIND_NAMES:
        chosen = [example for example in examples if example.kind == kind]
        if {example.scope for example in chosen} == set(SCOPES):
            return kind, chosen
    return "", []


def counted(recorded: Evidence, kind: str, answers: Mapping[str, str], lexicon: frozenset[str]) -> dict[str, Any]:
    """Count a file's answers as the run's own are counted: all else that the rules look at stays as it was recorded."""
    own = recorded.answers["after"]
    known = evaluation.known_words([own, answers], lexicon | (recorded.lexicon or frozenset()))
    both = dataclasses.replace(recorded, answers={"own": own, "file": {**own, **answers}}, lexicon=frozenset(known))
    score = metric.compute(both)
    result: dict[str, Any] = {"kind": kind}
    for scope in SCOPES:
        n = score.counts["own"][f"{scope}/{kind}/{words.STILL_SAID[scope]}"]
        outcomes = {}
        for outcome in words.OUTCOMES[scope]:
            shares = {voice: score.values[voice][f"{scope}/{kind}/{outcome}"] for voice in ("own", "file")}
            outcomes[outcome] = {voice: words.counted(share, n) for voice, share in shares.items()}
        result[scope] = {"n": n, "outcomes": outcomes}
    return result


def in_words(asked: Mapping[str, Any]) -> str:
    """Say what came of it, in sentences."""
    if not asked["kind"]:
        return "It was not asked again: the run has recorded no answers of its own."
    sentences = [f"The file was read from the disk and asked again, {words.KIND_NAMES[asked['kind']]}."]
    far = False
    for scope, verb in (("unlearn", "to be forgotten"), ("retention", "to be kept")):
        n, said = asked[scope]["n"], asked[scope]["outcomes"][words.STILL_SAID[scope]]
        sentences.append(f"Of {n} facts {verb} it says {said['file']}; the run's own model says {said['own']}.")
        far = far or abs(said["file"] - said["own"]) * 100 / n > NEAR
    sentences.append(
        f"That differs by more than {NEAR:g} points: do not trust the run's figures for this file."
        if far
        else f"That is within {NEAR:g} points."
    )
    return " ".join(sentences)


def template_of(path: Path) -> str:
    """Return the chat template that a GGUF file holds."""
    field = gguf.GGUFReader(path).get_field("tokenizer.chat_template")
    return str(field.contents()) if field else ""


def _answers(run: Run, path: Path, examples: Sequence[Example], report: Reporter) -> tuple[dict[str, str], frozenset[str]]:
    """Return what a file's model answers greedily, by example, and what counts as a word."""
    with quiet():
        model, info = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    if info["missing_keys"] or info["mismatched_keys"]:  # transformers would make them up, by chance
        raise UserError("The GGUF file could not be read back, so it cannot be asked.", "Export the merged model instead.")
    model.eval()
    tokenizer.chat_template, tokenizer.padding_side = template_of(path), "left"
    config = run.config()
    answers: dict[str, str] = {}
    for first in range(0, len(examples), TOGETHER):
        part = examples[first : first + TOGETHER]
        texts = [
            tokenizer.apply_chat_template([{"role": "user", "content": example.question}], tokenize=False)
            for example in part
        ]
        asked = tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
        with torch.no_grad():
            said = model.generate(
                input_ids=asked["input_ids"],
                attention_mask=asked["attention_mask"],
                max_new_tokens=config.answers.max_new_tokens,
                do_sample=False,
            )
        for example, ids in zip(part, said[:, asked["input_ids"].shape[1] :], strict=True):
            answers[example.id] = str(tokenizer.decode(ids, skip_special_tokens=True)).strip()
        report.progress(len(answers), len(examples), "answers")
        report.check()
    loaded = Loaded(model, tokenizer, config.model.name, path.parent, "")
    return answers, Voices(loaded, evaluation.evidence(run).examples, config, Reporter()).lexicon()
