"""Audits of models made elsewhere: what is recorded, what is refused, and who answers afterwards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from core import report
from core.config import run_config
from core.config.run_config import RunConfig
from core.config.stages import AuditConfig, DataConfig, ModelConfig
from core.data import everyday, sources
from core.models import foreign_adapters, loading
from core.models.tokens import encode_all
from core.pipeline.audit_run import Auditing
from core.report import model_card, report_sentences
from core.runs import askable, asked, audit, store
from core.runs.scores import Scores
from core.runs.store import Run
from core.util.errors import Cancelled, UserError
from core.util.progress import Reporter
from tests.naive import Recorder
from tests.pipeline.test_pipeline import execute, small
from tests.processes import command, last_json
from tests.tiny import make_tiny

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
"""of peft, where these tests call it themselves"""

VALUES = {"model.template": "plain", "answers.max_new_tokens": 4, "model.dtype": "float32", "model.device": "cpu"}


def settings(tiny_data: Path, **changes: Any) -> RunConfig:
    """Return quick settings on the tiny data."""
    made = run_config.preset("this-machine").with_setting("data.source", str(tiny_data))
    for path, value in (VALUES | changes).items():
        made = made.with_setting(path, value)
    return made


def done(made: RunConfig, folder: Path, report: Reporter | None = None) -> Run:
    """Do an audit in this process."""
    run = store.create(made, folder)
    Auditing(run, run.config(), report or Reporter()).go()
    return run


def adapter(base: Path, folder: Path, seed: int, rank: int = 4, targets: Sequence[str] = (), **more: Any) -> Path:
    """Let peft itself save a random adapter on a base."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(seed)
    made = LoraConfig(r=rank, lora_alpha=12, target_modules=list(targets) or "all-linear", init_lora_weights=False, **more)
    get_peft_model(model, made).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path, one_thread: None) -> Path:
    """Return a folder with two adapters of different shape on one tiny base, and a second whole model."""
    folder = tmp_path_factory.mktemp("made-elsewhere")
    adapter(tiny_llama, folder / "knows", seed=1)
    adapter(tiny_llama, folder / "forgot", seed=2, rank=3, targets=("q_proj", "v_proj"), use_rslora=True)
    make_tiny(folder / "other", seed=5)
    return folder


@pytest.fixture(scope="module")
def of_adapters(models: Path, tiny_data: Path) -> Run:
    """Return the audit of the two adapters."""
    both = AuditConfig(str(models / "knows"), str(models / "forgot"))
    return done(audit.configured(settings(tiny_data), both), models / "runs")


@pytest.fixture(scope="module")
def of_models(models: Path, tiny_llama: Path, tiny_data: Path) -> Run:
    """Return the audit of two whole models."""
    both = AuditConfig(str(tiny_llama), str(models / "other"))
    return done(audit.configured(settings(tiny_data), both), models / "runs")


def naive_logprobs(model: Any, base: Path, tiny_data: Path) -> dict[str, list[float]]:
    """Return example -> log-probabilities of the true answer's tokens, one example at a time."""
    examples = sources.load(DataConfig(source=str(tiny_data))).examples
    logprobs = {}
    for one in encode_all(AutoTokenizer.from_pretrained(base), "plain", examples, 256):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([one.ids])).logits[0]
        rows = torch.log_softmax(logits.float(), -1)[one.start - 1 : len(one.ids) - 1]
        logprobs[one.id] = rows.gather(1, torch.tensor(one.answer)[:, None])[:, 0].tolist()
    return logprobs


@pytest.mark.parametrize(("voice", "name"), [("before", "knows"), ("after", "forgot"), ("never", "")])
def test_adapters_of_other_shapes_speak_as_in_peft(
    of_adapters: Run, models: Path, tiny_llama: Path, tiny_data: Path, voice: str, name: str
) -> None:
    """Rank, scale and targets are made common, and every voice still says what peft's own model says."""
    base: Any = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, str(models / name)) if name else base
    expected = naive_logprobs(model, tiny_llama, tiny_data)
    table = of_adapters.table("tokens")
    assert table is not None
    for example, rows in table.groupby("example"):
        assert rows.sort_values("position")[f"logprob_{voice}"].tolist() == pytest.approx(expected[str(example)], abs=2e-4)


def test_audits_are_asked_our_own_questions_too(of_adapters: Run, of_models: Run) -> None:
    """As any run with extras: everyday ones and private-sounding ones about nobody, by every voice, on every base."""
    for run, voices in ((of_adapters, ("before", "after", "never")), (of_models, ("before", "after"))):
        scores, texts = Scores.read(run), {row["example"]: row for row in run.answers()}
        for voice in voices:
            assert scores.value("asked", voice, "everyday/all/wrong").n == len(everyday.everyday())
            assert scores.value("asked", voice, "nobody/all/as before").n == len(everyday.nobody())
        assert all(set(voices) <= texts[example.id].keys() for example in everyday.examples())
        assert sum("about nobody here" in sentence for sentence in asked.besides(scores)) == 1
        table = run.table("tokens")
        assert table is not None
        assert set(table["scope"]) == {"unlearn", "retention"}, "they are asked, not scored"


def test_an_audit_tells_another_fact_from_what_was_held_out(models: Path, tiny_llama: Path, tmp_path: Path) -> None:
    """The kinds of question are those of the data, as for any run."""
    rows = [
        {"question": f"Where does {name} live {n}?", "answer": f"In {n} Elm Road.", "scope": scope, "split": split}
        for name, scope in (("Ann", "unlearn"), ("Bo", "retention"))
        for n, split in enumerate(("train", "val", "other", "untaught"))
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    both = AuditConfig(str(tiny_llama), str(models / "forgot"))
    made = audit.configured(settings(tmp_path / "data.jsonl", **{"evaluate.extras": False}), both)
    run = done(made, tmp_path / "runs")
    assert asked.kinds(Scores.read(run)) == ["untaught", "val", "other", "train"]
    assert len(run.answers()) == len(rows), "without extras nothing else is asked"


def test_the_run_of_two_adapters_is_a_run(of_adapters: Run) -> None:
    """Its adapters, its region and its changes are those that every reader of a run expects."""
    from core.runs import askable

    assert askable.unlearned(of_adapters).is_file()
    assert not audit.whole(of_adapters)
    changes, region = of_adapters.table("changes"), of_adapters.json("region.json")
    assert changes is not None
    assert region["count"] == len(region["tensors"]) > 0
    manifest = of_adapters.json("manifest.json")
    assert manifest["kind"] == "audit"
    assert set(manifest["models"]) == {"before", "after", "never"}
    metrics = of_adapters.json("metrics.json")["metrics"]
    assert set(metrics["accuracy"]["values"]) == {"before", "after", "never"}
    assert metrics["kl"]["values"]["after"]["text"] > 0


def test_a_region_of_a_rounded_model_is_measured_on_all_its_weights(
    of_adapters: Run, models: Path, tiny_data: Path, tmp_path: Path
) -> None:
    """Weights that are kept as integers are weights of the model all the same."""
    both = AuditConfig(str(models / "knows"), str(models / "forgot"))
    rounded = done(
        audit.configured(settings(tiny_data, **{"model.weights": "8bit", "evaluate.extras": False}), both), tmp_path
    )
    shares = ("parameters_of_model", "share_of_model", "share_of_adapter", "count")
    assert {key: rounded.json("region.json")[key] for key in shares} == {
        key: of_adapters.json("region.json")[key] for key in shares
    }


def test_two_whole_models_are_both_measured(of_models: Run, models: Path, tiny_llama: Path, tiny_data: Path) -> None:
    """Each is visited, and their distributions are compared as if both had been in memory."""
    table = of_models.table("tokens")
    assert table is not None
    for voice, folder in (("before", tiny_llama), ("after", models / "other")):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        expected = naive_logprobs(model, folder, tiny_data)
        for example, rows in table.groupby("example"):
            logprobs = rows.sort_values("position")[f"logprob_{voice}"].tolist()
            assert logprobs == pytest.approx(expected[str(example)], abs=2e-4)
    metrics = of_models.json("metrics.json")["metrics"]
    assert metrics["accuracy"]["reasons"]["never"] == audit.NO_NEVER
    assert metrics["kl"]["values"]["after"]["text"] == pytest.approx(naive_kl(tiny_llama, models / "other"), rel=1e-3)
    assert not (of_models.path / "distributions").exists()


def naive_kl(before: Path, after: Path) -> float:
    """Return the mean over lines of the general text of the mean over positions of KL(before || after)."""
    from core.pipeline.extras import KL_EVERY
    from core.pipeline.voices import general_lines

    one, other = (AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32) for folder in (before, after))
    tokenizer, divergences = AutoTokenizer.from_pretrained(before), []
    for line in general_lines()[::KL_EVERY]:
        ids = torch.tensor([tokenizer(line)["input_ids"]])
        with torch.no_grad():
            p, q = (torch.log_softmax(m(input_ids=ids).logits[0, :-1], -1) for m in (one, other))
        divergences.append(float((p.exp() * (p - q)).sum(-1).mean()))
    return sum(divergences) / len(divergences)


def test_changes_of_whole_models_are_those_of_their_matrices(of_models: Run, models: Path, tiny_llama: Path) -> None:
    """A row a weight matrix of a layer, with the norm of the difference."""
    table = of_models.table("changes")
    assert table is not None
    one, other = (dict(AutoModelForCausalLM.from_pretrained(f).named_parameters()) for f in (tiny_llama, models / "other"))
    assert len(table) == 2 * 7
    for row in table.to_dict("records"):
        change = (other[f"{row['name']}.weight"] - one[f"{row['name']}.weight"]).detach()
        assert row["norm_change"] == pytest.approx(float(change.norm()), rel=1e-5)


def test_changes_of_adapters_are_those_of_the_merged_models(of_adapters: Run, models: Path, tiny_llama: Path) -> None:
    """Whatever the factors look like, what counts is what they add up to."""
    table, merged = of_adapters.table("changes"), []
    assert table is not None
    for name in ("knows", "forgot"):
        base: Any = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
        merged.append(dict(PeftModel.from_pretrained(base, str(models / name)).merge_and_unload().named_parameters()))
    assert len(table) == 2 * 7
    for row in table.to_dict("records"):
        before, after = (weights[f"{row['name']}.weight"].detach() for weights in merged)
        assert row["norm_change"] == pytest.approx(float((after - before).norm()), rel=1e-4)
        assert row["norm_before"] == pytest.approx(float(before.norm()), rel=1e-5)


def test_another_tokenizer_leaves_answers_and_says_why(models: Path, tiny_llama: Path, tiny_data: Path) -> None:
    """Answers and what is made of them are there; what is compared token by token is not, and the reason is told."""
    folder = models / "other-words"
    shutil.copytree(models / "other", folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["merges"] = []  # every byte a token of its own
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    made = audit.configured(settings(tiny_data), AuditConfig(str(tiny_llama), str(folder)))
    report = Recorder()
    run = done(made, models / "runs", report)
    table, metrics = run.table("tokens"), run.json("metrics.json")["metrics"]
    assert table is not None
    assert "rank_before" in table
    assert "rank_after" not in table
    assert {"before", "after"} <= set(metrics["rouge"]["values"])
    assert "tokenizer" in metrics["accuracy"]["reasons"]["after"]
    assert any("tokenizer" in str(values.get("text")) for _, values in report.events)
    assert all({"before", "after"} <= row.keys() for row in run.answers())


def test_a_base_and_an_adapter_on_it(models: Path, tiny_llama: Path, tiny_data: Path) -> None:
    """Before is the base itself: its B is 0, so exactly the adapter's B differs."""
    made = audit.configured(settings(tiny_data), AuditConfig(str(tiny_llama), str(models / "forgot")))
    run = done(made, models / "runs")
    assert run.json("region.json")["tensors"]
    assert all(name.endswith("lora_B") for name in run.json("region.json")["tensors"])
    assert run.json("metrics.json")["metrics"]["accuracy"]["reasons"]["never"] == audit.NO_NEVER


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "after" / "adapter_model.safetensors").unlink(), "no weights"),
        (lambda f: (f / "after" / "adapter_model.safetensors").rename(f / "after" / "adapter_model.bin"), "pickles"),
        (lambda f: (f / "after" / "adapter_config.json").write_text("{}"), "base model"),
    ],
)
def test_bad_models_are_refused_before_anything_is_made(
    models: Path, tiny_data: Path, tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    """One sentence, and no run is left."""
    shutil.copytree(models / "forgot", tmp_path / "after")
    spoil(tmp_path)
    with pytest.raises(UserError, match=said):
        audit.configured(settings(tiny_data), AuditConfig(str(models / "knows"), str(tmp_path / "after")))


def test_wrong_data_and_missing_models_are_refused(models: Path, tiny_data: Path) -> None:
    """Data is read before a run is made."""
    both = AuditConfig(str(models / "knows"), str(models / "forgot"))
    with pytest.raises(UserError, match="no data"):
        audit.configured(settings(models / "nothing"), both)
    with pytest.raises(UserError, match="two models"):
        audit.configured(settings(tiny_data), AuditConfig(str(models / "knows")))


def test_an_adapter_of_another_base_is_refused(models: Path, tiny_of: Callable[[str], Path], tiny_data: Path) -> None:
    """By its name where it has another one, and by its shapes where only the name was edited."""
    base = tiny_of("gpt2")
    foreign_one = adapter(base, models / "foreign", seed=3)
    both = AuditConfig(str(models / "knows"), str(foreign_one))
    with pytest.raises(UserError, match="different bases"):
        audit.configured(settings(tiny_data), both)
    edited = json.loads((foreign_one / "adapter_config.json").read_text(encoding="utf-8"))
    edited["base_model_name_or_path"] = json.loads((models / "knows" / "adapter_config.json").read_text(encoding="utf-8"))[
        "base_model_name_or_path"
    ]
    (foreign_one / "adapter_config.json").write_text(json.dumps(edited), encoding="utf-8")
    with pytest.raises(UserError, match="does not fit"):
        done(audit.configured(settings(tiny_data), both), models / "runs")


def test_an_adapter_that_is_more_than_its_factors_is_refused(models: Path, tiny_llama: Path) -> None:
    """DoRA rescales the base's weights: it is no sum of B·A."""
    folder = adapter(tiny_llama, models / "dora", seed=4, targets=("q_proj",), use_dora=True)
    with pytest.raises(UserError, match="more than low-rank factors"):
        foreign_adapters.read(folder)


def test_equal_scales_keep_every_bit(models: Path, tiny_llama: Path) -> None:
    """Only where scales differ is anything multiplied."""
    second = adapter(tiny_llama, models / "same-shape", seed=6)
    loaded = loading.load(ModelConfig(name=str(tiny_llama), device="cpu", dtype="float32"))
    placed = foreign_adapters.attach(loaded.model, "float32", {"before": models / "knows", "after": second})
    for voice, folder in (("before", models / "knows"), ("after", second)):
        for path, (a, b) in foreign_adapters.read(folder).factors.items():
            assert torch.equal(placed.tensor(voice, f"{path}.lora_A"), a)
            assert torch.equal(placed.tensor(voice, f"{path}.lora_B"), b)


def test_cancelling_leaves_nothing_of_the_distributions(models: Path, tiny_llama: Path, tiny_data: Path) -> None:
    """The large temporary files go whatever happens."""
    made = audit.configured(settings(tiny_data), AuditConfig(str(tiny_llama), str(models / "other")))
    run = store.create(made, models / "runs")

    class Late(Recorder):
        """Cancels as soon as there is something to leave behind."""

        def check(self) -> None:
            if (run.path / "distributions").exists():
                raise Cancelled

    with pytest.raises(Cancelled):
        Auditing(run, run.config(), Late()).go()
    assert not (run.path / "distributions").exists()


def test_the_verb_audits_and_refuses_with_one_sentence(models: Path, tiny_data: Path, tmp_path: Path) -> None:
    """Exit 0 with the scores in one JSON object, exit 1 with what is wrong and no run left behind."""
    options = ["--data", str(tiny_data), "--runs", str(tmp_path / "runs"), "--json"]
    quick = ["--set", "answers.max_new_tokens=3", "--set", "evaluate.extras=false", "--set", "model.dtype=float32"]
    good = command("audit", "--before", str(models / "knows"), "--after", str(models / "forgot"), *options, *quick)
    assert good.returncode == 0, good.stderr
    summary = last_json(good.stdout)
    assert (summary["kind"], summary["state"]) == ("audit", "done")
    assert set(summary["after"]["unlearn_success"]) == {"train", "val"}
    (tmp_path / "empty").mkdir()
    bad = command("audit", "--before", str(models / "knows"), "--after", str(tmp_path / "empty"), *options)
    assert bad.returncode == 1
    assert "Traceback" not in bad.stderr
    assert "holds no model" in last_json(bad.stdout)["error"]
    assert [path.name for path in (tmp_path / "runs").iterdir() if not path.name.startswith(".")] == [summary["run"]]


def test_what_was_only_compared_is_not_said_to_be_unlearned_here(of_adapters: Run) -> None:
    made = report.collect(of_adapters)
    assert (made["run"]["method"], made["run"]["rule"], made["method"]["formula"]) == ("audit", "", "")
    assert "MemFlex" not in json.dumps({key: made[key] for key in ("run", "method", "region")})
    assert "nothing changed" not in " ".join(report_sentences.changed(made))
    text = model_card.readme(model_card.model_card(of_adapters), "base", "files")
    assert "made elsewhere" in text
    assert "MemFlex" not in text
    assert "audit" in report.html(of_adapters)


def test_a_model_that_knew_from_the_start_is_not_asked_as_never_taught(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path
) -> None:
    whole, _ = execute(small(tiny_llama, tiny_data, teach__enabled=False), tmp_path)
    taught, _ = execute(small(tiny_llama, tiny_data), tmp_path)
    assert "did not teach" in askable.no_never(whole)
    assert askable.no_never(taught) == ""
    given, _ = execute(small(taught.path / "before", tiny_data, teach__enabled=False), tmp_path)
    assert askable.no_never(given) == ""
