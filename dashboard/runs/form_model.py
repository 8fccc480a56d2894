"""Which model a new run uses, what it is, and whether it fits into the memory there is."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from core.config.stages import ModelConfig
from core.models.device import guessed_device
from core.models.names import BUNDLED, adapter_base
from core.models.names import kind as kind_of
from core.plan import admission, hub
from core.plan.model_memory import ModelMemory, model_memory
from core.regions import PUBLISHED, Located, Region
from core.runs import overview, store
from core.util.errors import UserError
from core.util.paths import given
from dashboard.text import md


@dataclass(frozen=True)
class Paper:
    """A model of the paper, with the name under which its thresholds were published."""

    label: str
    hub: str
    thresholds: str


PAPER = {
    "llama": Paper("Llama-2-7B-chat", "meta-llama/Llama-2-7b-chat-hf", "llama-2-7b"),
    "qwen": Paper("Qwen1.5-7B-chat", "Qwen/Qwen1.5-7B-Chat", "qwen1.5-7b"),
}
KINDS = {"bundled": f"Bundled ({BUNDLED})", **{key: paper.label for key, paper in PAPER.items()}, "other": "Another one"}
HELP = (
    "**Bundled**: small, here, needs no download.  \n**Llama-2, Qwen1.5**: the paper's models, fetched from the hub at the "
    "first run; presets that locate the region take its published thresholds.  \n**Another one**: any causal language model."
)


def choose(start: ModelConfig, prefix: str) -> tuple[str, str]:
    """Let the model be chosen; return its kind (a key of KINDS) and its name for the configuration, "" for none yet.

    Raises UserError for a name that stands for none, and for damaged files.
    """
    presets = {"bundled": "bundled", **{paper.hub: key for key, paper in PAPER.items()}}
    kind = st.segmented_control(
        "Model",
        list(KINDS),
        format_func=KINDS.get,
        default=presets.get(start.name, "other"),
        required=True,
        key=f"{prefix}.model",
        bind="query-params",
        wrap=True,
        help=HELP,
    )
    if kind in PAPER:
        where = "; presets that locate the region start with the paper's thresholds (Table 12)"
        table = "" if start.name == PAPER[kind].hub else where
        st.caption(f"{md(PAPER[kind].hub)} from the hub{table}. {reached(PAPER[kind].hub)}")
        return kind, PAPER[kind].hub
    if kind == "bundled":
        return kind, kind
    given = st.text_input(
        "Hub id, folder, GGUF file or adapter folder",
        "" if start.name in presets else start.name,
        key=f"{prefix}.model_name",
        bind="query-params",
        placeholder="org/name or /models/mine",
        help="Any causal language model. A LoRA adapter folder is taken as the model before unlearning.",
    ).strip()
    if given:
        st.caption(what_is(given))
        raise_if(unfit(ModelConfig(name=given), here=False))
    return "other", given


def what_is(name: str) -> str:
    """Say in Markdown what a given name was taken for. Raises UserError where there is nothing like it."""
    match kind_of(name):
        case "bundled":
            return "The bundled model."
        case "gguf":
            return "A GGUF file: it is converted once, which takes some seconds."
        case "adapter":
            return f"A LoRA adapter on **{md(adapter_base(given(name)))}**: it is taken as before, and nothing is taught."
        case "folder":
            return "A model folder."
    link = f"[huggingface.co/{md(name)}](https://huggingface.co/{md(name)})"
    return f"A model of the hub: {link}, fetched by the run. {reached(name)}"


@st.cache_data(ttl=60, max_entries=32, show_spinner="Asking the hub …")  # type: ignore[untyped-decorator]
def reached(name: str, *, data: bool = False) -> str:
    """Say in Markdown whether the hub has a model, or a data set, and whether it can be fetched."""
    answer = hub.data(name) if data else hub.model(name)
    return f":material/{'cloud_done' if answer.there else 'cloud_off'}: {md(answer.says)}"


@st.cache_data(ttl=10, max_entries=8, show_spinner="Looking into the model's files …")  # type: ignore[untyped-decorator]
def unfit(config: ModelConfig, here: bool) -> tuple[str, str] | None:
    """Return why a run would refuse a model and what to do about it, None where it would not. here: on this machine."""
    try:
        admission.check_model(config, here=here)
    except UserError as error:
        return error.what, error.fix
    return None


def raise_if(problem: tuple[str, str] | None) -> None:
    """Raise UserError where something is wrong."""
    if problem:
        raise UserError(*problem)


def published(kind: str, subset: str, region: Region) -> Region:
    """Return the region that a model of the paper starts with: the published thresholds for it and the data."""
    if kind not in PAPER or not isinstance(region, Located):
        return region
    key = (PAPER[kind].thresholds, subset)
    thresholds = key if key in PUBLISHED else (PAPER[kind].thresholds, "privacy")
    return type(region)(thresholds="published", published=":".join(thresholds))


@st.cache_data(ttl=10, max_entries=8, show_spinner="Looking into the model's files …")  # type: ignore[untyped-decorator]
def _model_memory(config: ModelConfig) -> ModelMemory | None:
    return model_memory(config)


def batches() -> str:
    """Say that loading is not all, with what the bundled runs took at their peak."""
    peaks = [
        peak
        for run in store.bundled_runs()
        if (peak := overview.peak_memory((run.json("manifest.json") or {}).get("stages", {})))
    ]
    seen = f" (the bundled runs peaked at {max(peaks) / 1e9:.1f} GB)" if peaks else ""
    return f"Batches come on top{seen}: “Measure first” tells how much for these settings."


def memory(config: ModelConfig) -> None:
    """Say how much memory the model needs, and how much there is."""
    need = _model_memory(config)
    if need is None:
        st.caption("Its size is not known before it is fetched; the run refuses it if it does not fit.")
        return
    where = {"cpu": "on this machine", "cuda": "on the GPU", "mps": "on this machine"}.get(need.device, "")
    count = need.parameters
    size = f"{count / 1e9:.2g} billion" if count >= 1e9 else f"{count / 1e6:.3g} million" if count >= 1e6 else f"{count:,}"
    needs = f"{size} parameters need about **{need.needed / 1e9:.1f} GB** as {need.dtype} to load"
    if need.available is None:
        st.caption(f":material/memory: {needs}; how much is free {where} is not told.")
    elif need.fits:
        st.caption(f":material/memory: {needs}; {need.available / 1e9:.1f} GB are free {where}. {batches()}")
    else:
        st.warning(
            f"**This model does not fit.** {needs}, and only {need.available / 1e9:.1f} GB are free {where}. "
            "Choose a smaller model or dtype bfloat16, or close other programs.",
            icon=":material/warning:",
        )
    if guessed_device(config.device) == "cpu" and need.parameters > 1e9:
        st.caption(":material/hourglass_top: Without a GPU a model of this size takes hours or days: measure first.")
