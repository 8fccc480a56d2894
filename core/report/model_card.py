"""What must be known of an unlearned model wherever it goes: card.json for programs, README.md for people.

Both are made of a redacted report's data, so neither names a subject nor quotes a question. No torch.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.report import report_data, report_sentences
from core.runs.store import Run
from core.runs.voices import VOICE_NAMES

FORMAT = 1
KIND = "forgetscope-card"


def model_card(run: Run, folder: Path | None = None) -> dict[str, Any]:
    """Return method, region, data fingerprint, hashes, scores with intervals, verdicts, probes and limits of a run.

    folder: where the run's probes and controls are looked for. Raises UserError for a run without readable settings.
    """
    data = report_data.collect(run, redact=True, folder=folder)
    manifest = data["manifest"]["value"]
    region = data["region"] or {}
    return {
        "format": FORMAT,
        "kind": KIND,
        "run": data["run"],
        "missing": data["missing"],
        "model": manifest.get("model"),
        "data": manifest.get("data"),
        "adapters": manifest.get("adapters"),
        "manifest_sha256": data["manifest"]["sha256"],
        "versions": manifest.get("versions"),
        "dtype": manifest.get("dtype"),
        "method": {key: data["method"][key] for key in ("name", "formula", "source", "settings")},
        "region": {key: region.get(key) for key in ("rule", "count", "total", "share_of_adapter", "share_of_model")},
        "questions": data["scopes"],
        "asked": data["asked"],
        "scores": [*data["success"], *data["main"]],
        "verdicts": data["answers"]["counts"] if data["answers"] else [],
        "probes": [
            {key: p[key] for key in ("name", "sentence", "measure", "n", "cells", "unavailable", "stale")}
            for p in data["probes"]
        ],
        "controls": data["controls"],
        "limits": [{"state": r.state, "text": r.text} for r in report_sentences.leaks(data)],
        "again": data["manifest"]["again"],
        "config": data["manifest"]["config"],
    }


def readme(card: Mapping[str, Any], base: str, files: str) -> str:
    """Return a model card in Markdown. base: what adapter_config.json names; files: what lies beside it, in words."""
    run, region, method = card["run"], card["region"], card["method"]
    head = ["---", f"base_model: {json.dumps(base)}", "library_name: peft", "tags:", "- unlearning", "- forgetscope", "---"]
    about = [
        f"# {_plain(run['name'])}",
        "",
        (
            f"A language model after unlearning: {files}. {'Made with' if region.get('rule') else 'Written by'} "
            f"Forgetscope, run `{_code(run['id'])}`."
        ),
        "",
        f"- **Base**: {_plain(base)} ({_plain((card['model'] or {}).get('note', 'no note'))})",
        *_how(method, region),
        f"- **Data**: fingerprint `{_code((card['data'] or {}).get('fingerprint', 'not recorded'))}`",
        (
            f"- **Weights after**: content hash `{_code((card['adapters'] or {}).get('after', 'not recorded'))}`; "
            f"manifest `{card['manifest_sha256'][:64]}`"
        ),
    ]
    limits = [f"- {word(remark)}" for remark in card["limits"]]
    missing = ["", *(f"**{_plain(line)}**" for line in card["missing"])] if card["missing"] else []
    said = [line for sentence in card["asked"]["sentences"] for line in (_plain(sentence), "")]
    said = ["## What it says", "", *said] if said else []
    table = ["## Next-word accuracy and other scores", "", *_table(card)] if card["scores"] else []
    return "\n".join([*head, "", *about, *missing, "", *said, *table, "", "## Limits", "", *limits, ""])


def _how(method: Mapping[str, Any], region: Mapping[str, Any]) -> list[str]:
    count = f"{region['count']} of {region['total']} adapter tensors"
    if not region.get("rule"):
        return [f"- **Method**: not known here: it was made elsewhere and only compared with the one before; {count} differ"]
    loss = f"loss `{_code(method['formula'])}` ({_plain(method['source'])})"
    return [
        f"- **Method**: {_plain(method['name'])}, {loss}; settings `{_code(json.dumps(method['settings']))}`",
        f"- **Region**: {_plain(region['rule'])}, {count}; outside of it this adapter equals the one before, bit by bit",
    ]


def word(remark: Mapping[str, str]) -> str:
    """Write a limit as a list entry."""
    sign = {"leaks": "**Leaks.** ", "open": "Open. ", "few": "", "quiet": ""}[remark["state"]]
    return sign + _plain(remark["text"])


def _table(card: Mapping[str, Any]) -> list[str]:
    voices = [voice for voice in VOICE_NAMES if any(row["cells"].get(voice) for row in card["scores"])]
    lines = [
        f"| Score (percent; 95 % interval) | On | {' | '.join(VOICE_NAMES[voice] for voice in voices)} |",
        f"|---|---|{'---|' * len(voices)}",
    ]
    for row in card["scores"]:
        cells = []
        for voice in voices:
            cell = row["cells"].get(voice)
            ends = "" if not cell or cell["low"] is None else f" ({cell['low']:.1f} to {cell['high']:.1f})"
            cells.append(f"{cell['value']:.1f}{ends}" if cell else "–")
        lines.append(f"| {row['name']} | {row['part']} | {' | '.join(cells)} |")
    return lines


def _plain(text: Any) -> str:
    """Return text that Markdown and HTML show as it is, on one line."""
    flat = html.escape(" ".join(str(text).split()), quote=False)
    return "".join(f"\\{c}" if c in "\\`*_[]|~#!" else c for c in flat)


def _code(text: Any) -> str:
    return " ".join(str(text).split()).replace("`", "'")
