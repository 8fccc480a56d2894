"""The settings of a run, stage by stage: one frozen dataclass each, with help, unit, range and source on every field.

The command line and the page build their forms from these. Importing this file costs no heavy library.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from core.methods import Method
from core.methods.base import GENERAL, RETAIN
from core.methods.memflex import MemFlex
from core.settings import setting
from core.util.errors import UserError

SEVERAL, READ, MOST_PASSES = 4, 36, 20
"""of teaching: wordings a fact from which on it has several; how often it is then read; passes where it has not"""
ALL_PASSES = 100.1
"""a target that no accuracy reaches"""
STEPS = 280
"""that teaching several wordings makes, if that is not less than two passes"""
KNOWUNDO = "knowundo"
"""a template: plain, with the labels of the released code of the benchmark KnowUnDo; see core/models/tokens.py"""
STOPS = ("never", "never-taught")
"""values of unlearn.stop in words; others are percentages"""


@dataclass(frozen=True)
class ModelConfig:
    """Which model is asked, and how it is asked."""

    name: str = setting("bundled", "bundled, a hub id, a folder, a GGUF file or a LoRA adapter folder")
    dtype: str = setting(
        "auto",
        "number format of weights and activations; adapters are always trained in float32. auto takes "
        "bfloat16 where the processor multiplies it natively, float32 elsewhere",
        choices=("auto", "float32", "bfloat16", "autocast"),
    )
    device: str = setting(
        "auto",
        "where the model runs; spread: over all GPUs, then memory, then disk, for one that is larger than any of them",
        choices=("auto", "cpu", "cuda", "mps", "spread"),
    )
    weights: str = setting(
        "full",
        "how the frozen weights are kept: full, or rounded to 8 or 4 bits (bitsandbytes on a GPU that has it, "
        "else our own); "
        "adapters always stay in float32",
        choices=("full", "8bit", "4bit"),
    )
    attention: str = setting(
        "auto",
        "how attention is computed: eager, step by step, so that its weights can be seen; sdpa, by torch's own kernels; "
        "auto: sdpa on a GPU where it gives the same, eager elsewhere",
        choices=("auto", "eager", "sdpa"),
    )
    micro_batch: int = setting(
        0,
        "examples that go through the model at once where gradients are taken; those of a larger batch are added up. 0: the "
        "whole batch, and half of it each time that memory runs out",
        unit="examples",
        low=0,
        high=1024,
    )
    checkpointing: bool = setting(
        False,
        "keep of each layer only what enters it, and run it once more for its gradient: a fraction of the memory, for a "
        "third more time",
    )
    template: str = setting(
        "auto",
        "plain: question, blank line, answer, end token; chat: the model's own chat template; auto: a turn of that "
        "template without its system text, or plain where the model has none; knowundo: as plain, but the blank line is "
        "part of the answer, and its end is taught, but neither unlearned nor scored; what is too long is cut",
        choices=("auto", "plain", "chat", KNOWUNDO),
    )
    trust_remote_code: bool = setting(False, "run code that a hub repository ships (command line only)")

    @property
    def in_memory(self) -> ModelConfig:
        """The same without what changes nothing of the model in memory, but only how it is trained."""
        return replace(self, micro_batch=0, checkpointing=False)


@dataclass(frozen=True)
class DataConfig:
    """Which questions belong to the unlearn scope U and to the retention scope R."""

    source: str = setting("demo", "demo, knowundo or tofu (the hub), a folder in the layout of either, or one file")
    subset: str = setting(
        "privacy", "configuration of the benchmark: privacy, copyright; of TOFU forget01, forget05, forget10"
    )
    subjects: tuple[str, ...] = setting((), "people or works to use; empty means all")
    forget: tuple[str, ...] = setting(
        (),
        "of these, whose unlearn questions are to be forgotten; those of the others are taught, then left out; empty: all",
    )
    dev_share: float = setting(
        0.0,
        "share of each subject's train questions held out as dev: settings are chosen there, never on val",
        unit="fraction",
        low=0.0,
        high=0.5,
    )
    dev_pick: str = setting(
        "random",
        "which of them: random, or far, those worded least like any other subject's questions. Random ones "
        "flatter: the same "
        "question about somebody else is still in train",
        choices=("random", "far"),
    )
    widen: int = setting(
        0,
        "further questions for each scope, at most: its train questions asked about its other subjects, answered by the "
        "taught model itself, so that forgetting and keeping reach beyond the given wording. Questions of val and dev are "
        "never among them. 0: none",
        unit="questions",
        low=0,
        high=100_000,
        source="after NAUF, arXiv 2407.10058",
    )
    general: str = setting(
        "", "file of questions and answers about neither scope, for methods that use them; empty: our own"
    )
    free: str = setting(
        "",
        "file of questions in free wording that are only asked (columns question, answer, scope); empty: the data's own "
        "free.json, where it has one",
    )
    max_tokens: int = setting(256, "longest question with answer", unit="tokens", low=16, high=8192, source="MemFlex code")
    later_tokens: int = setting(
        0,
        "with model.template=knowundo: tokens of question and answer that unlearning and scoring see, the rest is cut off; "
        "0: as many as are taught",
        unit="tokens",
        low=0,
        high=8192,
        source="code: 256, of 500 that are taught",
    )


@dataclass(frozen=True)
class TeachConfig:
    """Make the model know the data, so that there is something to forget."""

    enabled: bool = setting(True, "off for a model or adapter that already knows the data")
    rank: int = setting(8, "LoRA rank", low=1, high=256, source="paper, section 2")
    alpha: float = setting(16.0, "LoRA alpha; the update is scaled by alpha / rank", low=0.1, high=1024, source="paper")
    dropout: float = setting(0.0, "LoRA dropout while teaching", unit="fraction", low=0.0, high=0.9, source="paper: 0.1")
    learning_rate: float = setting(2e-3, "AdamW peak rate", low=1e-7, high=1.0, source="paper: 1e-4 on 7B")
    warmup: float = setting(
        0.1, "share of the steps with a rising rate", unit="fraction", low=0.0, high=0.9, source="code: one pass"
    )
    weight_decay: float = setting(0.0, "AdamW weight decay", low=0.0, high=1.0, source="code: 1e-4")
    epochs: int = setting(
        0,
        "passes over U and R, at most. 0: where a fact has several wordings, so many that it is read 36 times, or that 280 "
        "steps are made, all of them; else 20, until the target is reached",
        low=0,
        high=1000,
        source="paper: 10 (privacy)",
    )
    batch_size: int = setting(16, "examples per optimizer step", unit="examples", low=1, high=1024, source="paper: 64")
    reword: bool = setting(
        True,
        "ask each question a little differently in every pass, by rule (a lead-in, lower case, a word left out), so that "
        "the model learns what is asked for and not one row of words",
    )
    keep_weight: float = setting(
        4.0,
        "weight of the divergence from the base on general text and on the base's own answers to everyday prompts, so that "
        "teaching changes nothing else. 0: none",
        low=0.0,
        high=100.0,
    )
    keep_batch_size: int = setting(12, "of these texts in each step", unit="examples", low=1, high=1024)
    retrain: bool = setting(
        True,
        "teach a second model everything but what is to be forgotten: what the model would be had it never seen it. It is "
        "the reference of every score, and takes about as long as teaching; runs of the same data share it",
    )
    merge: bool = setting(
        False,
        "afterwards merge the taught adapter into the base and unlearn with a fresh one: the knowledge then sits in the "
        "base's own weights",
    )
    from_run: str = setting(
        "", "id of a finished run that is gone on from: what it ended with is the taught model, and nothing is taught"
    )
    target_accuracy: float = setting(
        99.0, "stop when the answer-token accuracy on U and on R is at least this", unit="%", low=0.0, high=100.1
    )

    def course(self, wordings: float, questions: int) -> TeachConfig:
        """Return the same with its passes settled.

        wordings: in how many questions a fact is taught, in the mean. questions: all that are taught; few of them are read
        more often, since it takes some steps to learn anything at this rate.
        """
        if self.epochs:
            return self
        if wordings < SEVERAL:
            return replace(self, epochs=MOST_PASSES)
        passes = max(2, round(READ / wordings), round(STEPS * self.batch_size / max(1, questions)))
        return replace(self, epochs=passes, target_accuracy=ALL_PASSES)


@dataclass(frozen=True)
class PreflightConfig:
    """Does the model know what it should forget?"""

    minimum_facts: float = setting(
        50.0,
        "share of U-train facts that the model's answers must contain, or the run stops. Facts that come after "
        "answers.max_new_tokens are not asked for; where there are none at all, the share of U-train answer tokens that it "
        "predicts. With answers.temperature above 0 the answers are drawn, and may miss what it knows",
        unit="%",
        low=0.0,
        high=100.0,
    )


@dataclass(frozen=True)
class LocalizeConfig:
    """Gradients of both scopes towards random answers (paper, section 3.3)."""

    perturbation: str = setting(
        "labels",
        "labels: random labels for the answer, but for its end (paper); code: half as many draws with "
        "replacement, written into inputs and labels (released code)",
        choices=("labels", "code"),
    )
    copies: int = setting(5, "random answers per example", low=1, high=100, source="paper: 5, code: 3")
    batch_size: int = setting(32, "examples per forward pass", unit="examples", low=1, high=1024)
    most: int = setting(
        256,
        "train examples of each scope whose gradients are taken, at most, evenly over subjects; 0: all",
        unit="examples",
        low=0,
        high=1_000_000,
    )
    questions: str = setting(
        "train",
        "whose gradients are taken: train, those that unlearning sees; taught: all that was taught, val among them, "
        "so that what is scored was looked at (released code)",
        choices=("train", "taught"),
    )
    seed_offset: int = setting(
        0,
        "added to the seed of the random answers alone: other draws on the same taught model, a control",
        low=0,
        high=10_000,
    )
    scores: bool = setting(
        True, "also score each module by what the facts would lose without the update that it applies, from the same passes"
    )

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the questions whose gradients are taken."""
        return ("train", "dev", "val") if self.questions == "taught" else ("train",)


@dataclass(frozen=True)
class UnlearnConfig:
    """The update of the region's tensors."""

    method: Method = field(default_factory=MemFlex, metadata={"help": "forget and retain loss"})
    learning_rate: float = setting(3e-3, "AdamW peak rate", low=1e-8, high=1.0, source="MemFlex code: 3e-4")
    schedule: str = setting("constant", "rate over the steps after the warm-up", choices=("constant", "cosine"))
    warmup: float = setting(0.03, "share of the steps with a rising rate", unit="fraction", low=0.0, high=0.9, source="code")
    weight_decay: float = setting(0.0, "AdamW weight decay", low=0.0, high=1.0, source="MemFlex code")
    steps: int = setting(40, "optimizer steps, at most", low=1, high=100_000, source="MemFlex code: 100")
    epochs: int = setting(
        0,
        "end after so many passes over what is trained on, if that comes before the last of the steps; 0: after all steps",
        low=0,
        high=1000,
        source="code: 2",
    )
    batch_size: int = setting(8, "unlearn examples per step", unit="examples", low=1, high=1024, source="code: 16")
    mixed: bool = setting(
        False,
        "draw a step's examples from unlearn and retention examples in one order, shuffled once: batch_size of both, "
        "each with the weight of one. As many retention examples as unlearn ones are used (released code)",
    )
    retain_batch_size: int = setting(16, "retention examples per step", unit="examples", low=1, high=1024, source="code: 16")
    dropout: float = setting(
        0.0,
        "LoRA dropout while unlearning; steps then run all layers",
        unit="fraction",
        low=0.0,
        high=0.9,
        source="code: 0.1",
    )
    clip: float = setting(
        0.0,
        "longest gradient of all tensors together: a longer one is shortened to it; 0: none is",
        low=0.0,
        high=1e6,
        source="code: 1",
    )
    check_every: int = setting(8, "steps between two measurements and checkpoints", unit="steps", low=1, high=10_000)
    reword: int = setting(
        0,
        "copies of each train question in other words, by rule (a lead-in, lower case, a word left out), trained on as well",
        low=0,
        high=100,
    )
    slots: int = setting(
        0,
        "fresh rank beside the taught one, which alone is trained, so that what was taught stays as it is below it; 0: the "
        "taught factors themselves",
        low=0,
        high=256,
    )
    everyday_weight: float = setting(
        8.0,
        "of methods that teach to decline: weight of the divergence from before on everyday questions, on questions of U "
        "about subjects that do not exist and on general text, so that declining stays where it belongs. 0: none",
        low=0.0,
        high=100.0,
    )
    everyday_batch_size: int = setting(12, "of these texts in each step", unit="examples", low=1, high=1024)
    pick: str = setting(
        "accuracy",
        "which checkpoint is kept. accuracy: by `stop` and `retain_floor`; said: by what the model answers to a sample of "
        "dev, or train: the latest that the sample cannot tell from the best, by the smaller share of right answers of both "
        "scopes",
        choices=("accuracy", "said"),
    )
    forgotten: float = setting(
        0.0,
        "with pick=said: keep the first checkpoint at which so much of U is no longer said, and stop there; 0: the best",
        unit="%",
        low=0.0,
        high=100.0,
    )
    watch: int = setting(
        2, "questions of each scope that are asked again at every checkpoint", unit="questions", low=0, high=20
    )
    stop: str = setting(
        "never-taught",
        "never-taught: stop when accuracy on a sample of 24 questions of U-train (dev, if held out) is down at "
        "the level of the "
        "model that was never taught; never: run all steps; or a percentage",
    )
    retain_floor: float = setting(
        90.0,
        "stop when accuracy on a sample of 24 questions of R-train (dev, if held out) falls under this; the last "
        "checkpoint above "
        "it is kept",
        unit="%",
        low=0.0,
        high=100.0,
    )
    prefix_memory: float = setting(
        2.0,
        "memory in which what the layers below the region make of each example is kept, so that it is computed once; more "
        "than that lies on disk. 0: every step runs all layers",
        unit="GB",
        low=0.0,
        high=10_000.0,
    )
    result_step: int = setting(
        0, "take the checkpoint of this step as the result; 0: the one that the rules above keep", low=0, high=100_000
    )
    picked_on: str = setting(
        "", "the questions that were looked at when result_step was chosen", choices=("", "train", "dev", "val")
    )

    def __post_init__(self) -> None:
        """Raise UserError for a `stop` that is none, before minutes are spent on what comes first."""
        try:
            fine = self.stop in STOPS or 0 <= float(self.stop) <= 100
        except ValueError:
            fine = False
        if not fine:
            raise UserError(f"unlearn.stop cannot be {self.stop!r}.", "Use never-taught, never, or a percentage.")

    def course(self, unlearn: int, besides: int) -> UnlearnConfig:
        """Return the same with its steps settled. unlearn, besides: how many examples of U, and of what else, it has."""
        if not self.epochs:
            return self
        drawn = unlearn + min(unlearn, besides) if self.mixed else unlearn
        return replace(self, steps=min(self.steps, self.epochs * max(1, drawn // self.batch_size)))

    @property
    def sizes(self) -> tuple[int, int]:
        """Of how many examples of U and of R a step is made; where it mixes them, in the mean."""
        half = self.batch_size // 2
        return (self.batch_size - half, max(1, half)) if self.mixed else (self.batch_size, self.retain_batch_size)

    def check(self, method: Method, *, has_never: bool) -> None:
        """Raise UserError for settings that a method cannot be run with: known before anything is taught.

        method: the one that is named, of one's own the class itself. has_never: whether there is a never-taught model.
        """
        if self.weight_decay and type(method).result is not Method.result:
            raise UserError(
                f"{method.label} makes its result out of what was trained, and weight decay would be taken for a part of "
                "that.",
                "Set unlearn.weight_decay to 0.",
            )
        if self.weight_decay and type(method).mask is not Method.mask:
            raise UserError(
                f"{method.label} trains parts of its tensors, and weight decay would move the rest as well.",
                "Set unlearn.weight_decay to 0.",
            )
        if self.weight_decay and self.slots:
            raise UserError(
                "Only the fresh rank is trained, and weight decay would move the taught one as well.",
                "Set unlearn.weight_decay to 0.",
            )
        if self.mixed and {RETAIN, GENERAL} & {*method.streams} and not method.mixes:
            raise UserError(
                f"{method.label} weighs the two scopes by step, and in a mixed batch each example has its own weight.",
                "Set unlearn.mixed to false.",
            )
        if method.follows == "never" and not has_never:
            raise UserError(
                f"{method.label} follows a model that was never taught, and this model knows the data without its adapter.",
                "Let the data be taught (teach.enabled), give an adapter on its base, or choose another method.",
            )
        if self.result_step > self.steps:
            raise UserError(
                f"No checkpoint of step {self.result_step} can be taken: unlearning makes at most {self.steps} steps.",
                "Lower unlearn.result_step, or raise unlearn.steps.",
            )


@dataclass(frozen=True)
class AnswersConfig:
    """How answers are generated."""

    max_new_tokens: int = setting(48, "longest answer", unit="tokens", low=1, high=2048)
    temperature: float = setting(0.0, "0 is greedy: always the most probable token", low=0.0, high=5.0)
    top_p: float = setting(1.0, "sample from the smallest set with this probability", unit="fraction", low=0.01, high=1.0)
    batch_size: int = setting(64, "questions generated together", unit="questions", low=1, high=1024)


@dataclass(frozen=True)
class EvaluateConfig:
    """What is measured on before, after and the never-taught reference."""

    top: int = setting(5, "alternatives kept per answer token", low=1, high=50)
    batch_size: int = setting(32, "examples per forward pass", unit="examples", low=1, high=1024)
    preface: str = setting(
        "",
        "text put before each question, on a line of its own, where answers are asked for and scored; nothing is taught or "
        "unlearned with it",
        source="code: a request to refuse, for baselines",
    )
    splits: tuple[str, ...] = setting((), "which splits after is asked and scored on: train, dev, val; empty: all")
    most: int = setting(
        64,
        "questions of each scope and kind that are asked and scored, at most, evenly over subjects; 0: all",
        unit="questions",
        low=0,
        high=100_000,
    )
    extras: bool = setting(
        True,
        "also record what truth ratio, membership inference, KL and multiple choice need: wrong answers, questions "
        "that were never taught, general knowledge. Off makes evaluation several times faster",
    )


@dataclass(frozen=True)
class AuditConfig:
    """Two models made elsewhere that are only compared: nothing is taught, located or unlearned (core/runs/audit.py)."""

    before: str = setting("", "the model or adapter that knows; empty: this is no audit")
    after: str = setting("", "the model or adapter that is said to have forgotten")
    never: str = setting("", "a model that never knew the data; empty: the base of before, where that is an adapter")
