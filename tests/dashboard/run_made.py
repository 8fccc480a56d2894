"""What the tests of the Run page share: what a page says, and rounds of watched questions."""

from __future__ import annotations

import json
from typing import Any

from streamlit.testing.v1 import AppTest

from core.runs.store import Run
from tests.dashboard.conftest import text_of

GONE = ("*.parquet", "*.npz", "answers*", "metrics*", "region*", "unlearn*", "manifest*")
BAD = "<img src=x onerror=alert(1)> **b**"


def plain(text: str) -> str:
    return text.replace("\\", "")


def said(app: AppTest) -> str:
    return plain(text_of(app))


def bars(app: AppTest) -> str:
    """What the progress bars of a page say."""
    return plain("\n".join(bar.proto.text for bar in app.get("progress")))


def write_events(run: Run, events: list[dict[str, Any]]) -> None:
    (run.path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")


def watch(step: int, *texts: str) -> dict[str, Any]:
    asked = (
        ("unlearn/train/0", "unlearn", f"Where does Ann live {BAD}?"),
        ("retention/train/0", "retention", "What does Ann do?"),
    )
    answers = [{"example": e, "scope": s, "question": q, "text": text} for (e, s, q), text in zip(asked, texts, strict=True)]
    return {"t": 1.0, "kind": "watch", "stage": "unlearn", "step": step, "answers": answers}
