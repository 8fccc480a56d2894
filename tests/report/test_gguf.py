"""The model as a GGUF file: read by another implementation, asked again, and whole or not there."""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.cli.main import main
from core.config.stages import AnswersConfig
from core.data.corpus import SCOPES
from core.models.tokens import conversation_text, prompt_text
from core.report import gguf_asked, gguf_check, gguf_file, gguf_text
from core.runs import store
from core.runs.store import Run
from core.util.errors import UserError
from tests.tiny import VOCABULARY

PRIVACY = store.BUNDLED_RUNS / "privacy-clean"
TOGETHER = 8
"""questions that llama.cpp answers in one batch"""
TEXT = "Where does Orla Venning live? At 14 Quay Street, since 1987."
SMOLLM = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a "
    "helpful AI assistant<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""as the bundled model's: a system text that nobody asked for, which the run's prompts leave out"""


def loaded(folder: Path) -> tuple[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    return model, AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("weights", ["f16", "q8_0"])
@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2"])
def test_another_reader_computes_the_same(
    tiny_of: Callable[[str], Path], tmp_path: Path, architecture: str, weights: str
) -> None:
    model, tokenizer = loaded(tiny_of(architecture))
    path = tmp_path / "model.gguf"
    gguf_file.save(path, model, tokenizer, "plain", weights, "tiny")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name, dtype=torch.float32).eval()
    their_tokenizer = AutoTokenizer.from_pretrained(tmp_path, gguf_file=path.name)
    ids = torch.tensor([tokenizer(TEXT, add_special_tokens=False)["input_ids"]])
    assert their_tokenizer(TEXT, add_special_tokens=False)["input_ids"] == ids[0].tolist()
    with torch.no_grad():
        mine, other = model(input_ids=ids).logits, theirs(input_ids=ids).logits
    room = {"f16": 0.005, "q8_0": 0.05}[weights] * float(mine.std())
    assert float((mine - other).std()) < room
    with torch.no_grad():  # a rotary head whose halves lie wrong is far off
        model.model.layers[0].self_attn.q_proj.weight.copy_(model.model.layers[0].self_attn.q_proj.weight.flip(0))
        assert float((model(input_ids=ids).logits - other).std()) > room


def test_8_bits_are_those_of_the_gguf_package(tiny_llama: Path, tmp_path: Path) -> None:
    model, tokenizer = loaded(tiny_llama)
    sizes = {}
    for weights in ("f16", "q8_0"):
        gguf_file.save(tmp_path / weights, model, tokenizer, "plain", weights, "tiny")
        sizes[weights] = sum(int(tensor.n_bytes) for tensor in gguf.GGUFReader(tmp_path / weights).tensors)
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "q8_0").tensors}
    assert tensors["blk.0.attn_v.weight"].tensor_type == gguf.GGMLQuantizationType.Q8_0
    assert tensors["blk.0.attn_norm.weight"].tensor_type == gguf.GGMLQuantizationType.F32
    assert tensors["blk.0.ffn_down.weight"].tensor_type == gguf.GGMLQuantizationType.F16  # rows of 48 fill no blocks of 32
    assert sizes["q8_0"] < 0.75 * sizes["f16"]


def test_the_files_template_writes_the_prompts_of_the_run(tiny_llama: Path) -> None:
    _, tokenizer = loaded(tiny_llama)
    tokenizer.chat_template = SMOLLM
    conversations = [
        [("user", "Who?")],
        [("user", "Who?"), ("assistant", "She."), ("user", "Really?")],
        [("system", "Be kind."), ("user", "Who?"), ("assistant", "“She” said: {{ no }}"), ("user", "Really?\n")],
    ]
    for template in ("auto", "chat"):
        written = gguf_text.prompt(tokenizer, template).template()
        for turns in conversations:
            messages = [{"role": role, "content": text} for role, text in turns]
            made = tokenizer.apply_chat_template(messages, chat_template=written, tokenize=False)
            assert made == conversation_text(tokenizer, template, turns)
    assert "helpful" not in gguf_text.prompt(tokenizer, "auto").template()
    assert "helpful" in gguf_text.prompt(tokenizer, "chat").template()
    plain = gguf_text.prompt(tokenizer, "plain")
    made = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Who?"}], chat_template=plain.template(), tokenize=False
    )
    assert made == prompt_text(tokenizer, "plain", "Who?") == "Who?\n\n"
    with pytest.raises(UserError, match="cannot be written as a chat template"):
        gguf_text.check_same(tokenizer, "plain", gguf_text.prompt(tokenizer, "auto").template(), ["Who?"])


def test_the_modelfile_holds_the_same_prompt(tiny_llama: Path) -> None:
    _, tokenizer = loaded(tiny_llama)
    tokenizer.chat_template = SMOLLM
    text = gguf_text.prompt(tokenizer, "auto").modelfile("m.gguf", AnswersConfig(max_new_tokens=40), ["<|im_end|>"])
    template = re.search(r'TEMPLATE """(.*?)"""', text, re.DOTALL)
    assert template
    filled = template[1].replace("{{ .Prompt }}", "Who?").split("{{ .Response }}")[0]
    filled = re.sub(r"\{\{ if \.System \}\}.*?\{\{ end \}\}", "", filled, flags=re.DOTALL)
    assert filled == prompt_text(tokenizer, "auto", "Who?")
    assert text.startswith("FROM ./m.gguf\n")
    assert 'PARAMETER stop "<|im_end|>"' in text
    assert "PARAMETER num_predict 40" in text


def test_what_is_handed_over_was_asked_again(unlearned_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target, runs = tmp_path / "made", str(unlearned_run.path.parent)
    arguments = ["export", unlearned_run.id, "--runs", runs, "--as", "gguf-f16", "-o", str(target)]
    assert main([*arguments, "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert sorted(path.name for path in target.iterdir()) == ["Modelfile", "README.md", "card.json", "model-f16.gguf"]
    assert said["bytes"] == sum(path.stat().st_size for path in target.iterdir())
    asked = json.loads((target / "card.json").read_text())["gguf"]["asked_again"]
    assert asked == said["asked_again"]
    for scope in SCOPES:
        assert asked[scope]["n"] > 0
        for count in asked[scope]["outcomes"].values():
            assert count["own"] == count["file"]  # a tiny model in f16 says what it says in float32
    assert "asked again" in (target / "README.md").read_text()
    assert gguf_asked.template_of(target / "model-f16.gguf").endswith('"\\n\\n" }}')
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert main(arguments) == 1
    assert "there already" in capsys.readouterr().err


def test_a_difference_is_counted_and_said() -> None:
    run = Run(PRIVACY)
    kind, examples = gguf_asked.questions(run)
    assert (kind, len(examples)) == ("free", 128)
    recorded = gguf_asked.evaluation.evidence(run)
    same = {example.id: recorded.answers["after"][example.id] for example in examples}
    asked = gguf_asked.counted(recorded, kind, same, frozenset())
    assert all(count["own"] == count["file"] for scope in SCOPES for count in asked[scope]["outcomes"].values())
    assert "within 3 points" in gguf_asked.in_words(asked)
    back = {example.id: recorded.answers["before"][example.id] for example in examples}
    asked = gguf_asked.counted(recorded, kind, back, frozenset())
    leaked = asked["unlearn"]["outcomes"]["leaked"]
    assert leaked["file"] - leaked["own"] > 40
    assert "do not trust" in gguf_asked.in_words(asked)
    assert f"it says {leaked['file']}" in gguf_asked.in_words(asked)


def test_a_full_disk_leaves_nothing_half(unlearned_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(writer: gguf.GGUFWriter) -> None:
        assert (tmp_path / ".made.part" / "model-q8_0.gguf").stat().st_size > 1000
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensors_to_file", full)
    with pytest.raises(UserError, match="No space left"):
        gguf_file.write(unlearned_run, tmp_path / "made", "q8_0")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_said_before_anything_begins(
    tiny_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    run = Run(Path(shutil.copytree(PRIVACY, runs / "other")))
    values = run.json("config.json")
    values["model"]["name"] = str(tiny_of("gpt2"))
    (run.path / "config.json").write_text(json.dumps(values))
    assert main(["export", "other", "--runs", str(runs), "--as", "gguf-q8_0", "-o", str(tmp_path / "made")]) == 1
    assert "architecture gpt2 cannot be written" in capsys.readouterr().err
    assert [path.name for path in runs.iterdir()] == ["other"]
    with pytest.raises(UserError, match="scales its positions"):
        gguf_check.check_architecture({"model_type": "llama", "rope_parameters": {"rope_type": "yarn"}})
    word_level = {"model": {"type": "WordLevel"}}
    with pytest.raises(UserError, match="splits text"):
        gguf_check.splits(word_level)
    spaced = {"model": {"type": "BPE"}, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}}
    with pytest.raises(UserError, match="splits text"):
        gguf_check.splits(spaced)


def test_the_tiny_tokenizer_is_gpt2s(tiny_llama: Path, tmp_path: Path) -> None:
    model, tokenizer = loaded(tiny_llama)
    gguf_file.save(tmp_path / "m.gguf", model, tokenizer, "plain", "f16", "tiny")
    fields = {name: field.contents() for name, field in gguf.GGUFReader(tmp_path / "m.gguf").fields.items()}
    assert fields["tokenizer.ggml.pre"] == "gpt-2"
    assert len(fields["tokenizer.ggml.tokens"]) == VOCABULARY
    assert fields["tokenizer.ggml.token_type"][:4] == [3, 3, 3, 1]
    assert fields["tokenizer.ggml.eos_token_id"] == 1


# -- another implementation ------------------------------------------------------------------------------------------


def second(path: Path, questions: list[str], tokens: int) -> list[str]:
    """Ask a GGUF file by llama.cpp, greedily, in the chat template that the file holds."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.use_jinja, params.verbosity = 4096, TOGETHER, True, 0
    # Several threads wait for each other by spinning: where others compute as well that stands still for minutes.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)

    def ask(question: str) -> str:
        messages = [{"role": "user", "content": question}]
        reply = server.handle_chat_completions({"messages": messages, "max_tokens": tokens, "temperature": 0.0})
        return str(reply["choices"][0]["message"]["content"]).strip()

    with ThreadPoolExecutor(TOGETHER) as pool:
        return list(pool.map(ask, questions))


@pytest.mark.long
@pytest.mark.parametrize("weights", ["f16", "q8_0"])
def test_llama_cpp_says_what_the_run_says(weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundled run, every free wording that it asked (64 a scope): leaked and kept within three points."""
    monkeypatch.setattr(gguf_asked, "again", lambda *given: {"kind": ""})  # asked below, by another implementation
    run = Run(PRIVACY)
    gguf_file.write(run, tmp_path / "made", weights)
    kind, examples = gguf_asked.questions(run)
    said = second(
        tmp_path / "made" / f"model-{weights}.gguf", [e.question for e in examples], run.config().answers.max_new_tokens
    )
    answers = dict(zip((e.id for e in examples), said, strict=True))
    recorded = gguf_asked.evaluation.evidence(run)
    asked = gguf_asked.counted(recorded, kind, answers, recorded.lexicon or frozenset())
    print(weights, json.dumps(asked))  # noqa: T201  # the figure itself: pytest -s
    for scope, outcome in (("unlearn", "leaked"), ("retention", "kept")):
        count = asked[scope]["outcomes"][outcome]
        assert abs(count["file"] - count["own"]) * 100 / asked[scope]["n"] <= gguf_asked.NEAR, asked


@pytest.mark.long
@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2"])
def test_llama_cpp_computes_each_architecture(tiny_of: Callable[[str], Path], tmp_path: Path, architecture: str) -> None:
    model, tokenizer = loaded(tiny_of(architecture))
    path = tmp_path / "model.gguf"
    gguf_file.save(path, model, tokenizer, "plain", "f16", "tiny")
    questions = ["Where does Orla Venning live?", "Who is Pavel Drost?", "In 1987, who?"]
    said = second(path, questions, 6)
    for question, answer in zip(questions, said, strict=True):
        ids = tokenizer(f"{question}\n\n", add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            made = model.generate(input_ids=ids, max_new_tokens=6, do_sample=False)
        assert answer == tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True).strip()
