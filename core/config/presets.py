"""Named sets of settings."""

from __future__ import annotations

from typing import Any

from core.config import published

DEFAULT = "clean"
"""what a run is made with where neither a preset nor a method is asked for"""

PRESETS: dict[str, dict[str, Any]] = {
    "clean": {
        "region": {"name": "late", "amount": "33%"},
        "unlearn.method": "decline",
        "unlearn.slots": 16,
        "unlearn.learning_rate": 2e-3,
        "unlearn.schedule": "cosine",
        "unlearn.warmup": 0.05,
        "unlearn.steps": 80,
        "unlearn.check_every": 20,
        "unlearn.batch_size": 8,
        "unlearn.retain_batch_size": 16,
        "unlearn.reword": 1,
        "unlearn.stop": "never",
        "unlearn.retain_floor": 0.0,
        "unlearn.pick": "said",
    },
    "this-machine": {},
    "recommended": {
        "region": {"name": "late", "amount": "10"},
        "unlearn.method": "ce-u",
        "unlearn.steps": 160,
        "unlearn.check_every": 20,
        "unlearn.batch_size": 16,
        "unlearn.retain_batch_size": 8,
        "unlearn.stop": "never",
        "unlearn.retain_floor": 0.0,
    },
    **{name: {value.path: value.value for value in values} for name, values in published.PRESETS.items()},
}
"""What a preset changes against the defaults, which are this-machine. Chosen on train and dev, never on val."""
