"""The colours of all charts, light and dark; the same ones as in streamlit_config.toml."""

from __future__ import annotations

from dataclasses import dataclass

Scale = list[tuple[float, str]]


@dataclass(frozen=True)
class Palette:
    """Before is grey, after is the accent; U is a dashed line with crosses, R a solid one with dots."""

    background: str
    surface: str
    text: str
    muted: str
    grid: str
    accent: str
    before: str
    retention: str
    bad: str
    """what went wrong: always with words beside it"""
    lost: str
    other: str
    declined: str
    """parts of bars, of answers that say something else about R and about U, and of those that decline"""
    signed: Scale
    """-1 … 1: accent where the scopes pull apart, paper at 0, blue where they agree"""
    size: Scale
    """small … large"""
    apart: Scale
    """small … large divergence, towards the accent"""

    def scope(self, scope: str) -> str:
        """Return the colour of a scope."""
        return self.accent if scope == "unlearn" else self.retention


LIGHT = Palette(
    background="#FBFAF7",
    surface="#F2F0EA",
    text="#14181C",
    muted="#6B7280",
    grid="#E6E3DB",
    accent="#B8420F",
    before="#6B7280",
    retention="#1D5276",
    bad="#B3261E",
    lost="#CC7A4B",
    other="#5A92B5",
    declined="#9F7CCB",
    signed=[(0.0, "#8F3208"), (0.25, "#DE8A5F"), (0.5, "#F1EEE6"), (0.75, "#77A6C4"), (1.0, "#164766")],
    size=[(0.0, "#F1EEE6"), (0.5, "#8DB4CC"), (1.0, "#123E5A")],
    apart=[(0.0, "#F1EEE6"), (0.5, "#E6A27C"), (1.0, "#8F3208")],
)

DARK = Palette(
    background="#14161A",
    surface="#1E2126",
    text="#E9E7E2",
    muted="#9CA3AF",
    grid="#2C3036",
    accent="#FF8A4C",
    before="#9CA3AF",
    retention="#7CC0EC",
    bad="#FF8A80",
    lost="#9C5024",
    other="#336C8A",
    declined="#C9B3EC",
    signed=[(0.0, "#FFB38A"), (0.25, "#B5622F"), (0.5, "#282C32"), (0.75, "#3F7FA6"), (1.0, "#A5DAFA")],
    size=[(0.0, "#23272D"), (0.5, "#35708F"), (1.0, "#A5DAFA")],
    apart=[(0.0, "#23272D"), (0.5, "#A35528"), (1.0, "#FFB38A")],
)


def shade(good: float | None, palette: Palette) -> str:
    """Return the style of a table's cell: the better (0 … 1), the stronger; None has no shade."""
    if good is None:
        return ""
    red, green, blue = (int(palette.accent[i : i + 2], 16) for i in (1, 3, 5))
    return f"background-color: rgba({red}, {green}, {blue}, {0.42 * good**1.5:.2f})"
