"""region.json: which tensors unlearning may change, by which rule, and how much of adapter and model they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.config.run_config import FORMAT
from core.runs.store import Run
from core.util import files


def write(
    run: Run,
    rule: Mapping[str, Any],
    tensors: Sequence[str],
    elements: Mapping[str, int],
    parameters: int,
    *,
    limits: tuple[float, float] | None = None,
    with_gradient: int = 0,
) -> None:
    """Write a region. rule: name and settings; elements: of every tensor of the adapter; parameters: of the base.

    limits: absolute mu and sigma of a rule that has thresholds. with_gradient: how many tensors could be chosen.
    """
    inside = sum(elements[name] for name in tensors)
    record = {
        "format": FORMAT,
        "rule": rule,
        "limits": limits,
        "tensors": tensors,
        "count": len(tensors),
        "total": len(elements),
        "with_gradient": with_gradient,
        "share_of_adapter": 100.0 * (inside / sum(elements.values())),
        "parameters_of_model": parameters,
        "share_of_model": 100.0 * inside / parameters,
    }
    files.write_json(run.path / "region.json", record)
