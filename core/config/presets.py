"""Named sets of settings."""

from __future__ import annotations

from typing import Any

_LONG: dict[str, Any] = {
    "region": {"name": "late", "amount": "10"},
    "unlearn.steps": 160,
    "unlearn.check_every": 20,
    "unlearn.batch_size": 16,
    "unlearn.retain_batch_size": 8,
    "unlearn.stop": "never",
    "unlearn.retain_floor": 0.0,
}
"""what the two presets found by tuning share (assets/findings.md, section 3)"""

PRESETS: dict[str, dict[str, Any]] = {
    "this-machine": {},
    "recommended": {
        **_LONG,
        "unlearn.method": "ce-u",
    },
    "fluent": {
        **_LONG,
        "unlearn.method": "decline",
        "unlearn.refusal_weight": 0.8,
        "unlearn.retain_weight": 9.0,
        "unlearn.learning_rate": 4.7e-3,
    },
    "paper": {
        "teach.dropout": 0.1,
        "teach.learning_rate": 1e-4,
        "teach.epochs": 10,
        "teach.batch_size": 64,
        "teach.target_accuracy": 100.1,
        "region.thresholds": "published",
        "unlearn.forget_weight": 0.4,
        "unlearn.retain_weight": 2.0,
        "unlearn.forget_ceiling": 0.0,
        "unlearn.learning_rate": 3e-4,
        "unlearn.schedule": "cosine",
        "unlearn.steps": 100,
        "unlearn.batch_size": 16,
        "unlearn.retain_batch_size": 16,
        "unlearn.stop": "never",
        "unlearn.retain_floor": 0.0,
    },
}
"""What a preset changes against the defaults, which are this-machine. Chosen on train and dev, never on val."""
PRESETS["paper-code"] = {**PRESETS["paper"], "localize.perturbation": "code", "localize.copies": 3}
