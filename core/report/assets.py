"""What draws a report: its templates, style, scripts and fonts, and the hash of all of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from core.util.paths import ASSETS

PLOTLY = ASSETS / "vendor" / "plotly-cartesian-4.1.1.min.js"
FONTS = {"Inter": ("inter-latin", "100 900"), "Forgetscope Serif": ("source-serif-4-latin", "200 900")}
"""family -> file, range of weights"""


def font(name: str) -> Path:
    """Return a family's file."""
    return ASSETS / "fonts" / f"{FONTS[name][0]}.woff2"


def maker() -> str:
    """Return the SHA-256 of everything that draws a report: equal makers draw equal reports from equal data."""
    digest = hashlib.sha256()
    for path in sorted([*(ASSETS / "report").iterdir(), *Path(__file__).parent.glob("*.py"), PLOTLY, *map(font, FONTS)]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
