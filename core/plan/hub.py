"""Whether the hub has a model or a data set and lets it be fetched, asked before a run is started; nothing is fetched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.plan.model_memory import hub_files

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import DatasetInfo, ModelInfo

PATIENCE = 5.0
"""seconds that the hub has to answer"""


@dataclass(frozen=True)
class Reached:
    """What came of asking."""

    there: bool
    says: str
    """one sentence"""


def model(name: str) -> Reached:
    """Ask for a model, unless its weights are on this machine."""
    if hub_files(name):
        return Reached(True, "Its weights are on this machine already.")
    return _asked(name, lambda api: _of_model(api.model_info(name, timeout=PATIENCE)))


def data(name: str) -> Reached:
    """Ask for a data set."""
    return _asked(name, lambda api: _there(api.dataset_info(name, timeout=PATIENCE)))


def _of_model(found: ModelInfo) -> str:
    size = found.safetensors.total if found.safetensors else 0
    return _there(found) + (f" It has {size / 1e9:.2g} billion parameters." if size else "")


def _there(found: ModelInfo | DatasetInfo) -> str:
    return "The hub has it." + (" Its page asks you to agree to something first." if found.gated else "")


def _asked(name: str, ask: Callable[[HfApi], str]) -> Reached:
    from huggingface_hub import HfApi, errors

    try:
        return Reached(True, ask(HfApi()))
    except errors.RepositoryNotFoundError:
        return Reached(False, f"The hub has no {name}, or does not show it to you.")
    except (errors.HTTPError, errors.HFValidationError, OSError) as error:  # type: ignore[attr-defined]
        return Reached(False, f"The hub does not answer ({type(error).__name__}): what is not here cannot be fetched now.")
