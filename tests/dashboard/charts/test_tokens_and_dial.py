from __future__ import annotations

import math
from typing import Any

import pytest

from dashboard.charts import strength_dial, tokens
from dashboard.charts.palette import DARK, LIGHT, Palette

NAMES = {"before": "Before", "after": "After", "blend:75": "<b>Blend</b>"}


def scores(*logprobs: float) -> list[dict[str, Any]]:
    return [{"text": f"<i>{i}", "logprob": p, "rank": 1, "top": []} for i, p in enumerate(logprobs)]


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_colours_follow_the_scale_and_letters_stay_readable(palette: Palette) -> None:
    assert tokens.colour(0, palette.size) == palette.size[0][1].lower()
    assert tokens.colour(1, palette.size) == palette.size[-1][1].lower()
    assert tokens.colour(0.5, palette.signed) == palette.signed[2][1].lower()
    assert tokens.colour(7, palette.size) == tokens.colour(1, palette.size)
    assert tokens.readable("#ffffff") == "#111111"
    assert tokens.readable("#000000") == "#ffffff"


def test_change_is_accent_where_a_word_became_less_probable() -> None:
    shown = tokens.strip({"before": scores(0.0, -9.0, -1.0), "after": scores(-9.0, 0.0, -1.0)}, "change", LIGHT)
    fell, rose, same = (token["background"] for token in shown)
    assert fell == tokens.colour(math.exp(-9) / 2, LIGHT.signed)
    assert rose == tokens.colour(1 - math.exp(-9) / 2, LIGHT.signed)
    assert same == LIGHT.signed[2][1].lower()
    assert shown[0]["title"] == "before 100 %, after 0.012 %"


def test_charts_of_tokens_show_each_voice_and_hostile_words_as_text() -> None:
    by_voice = {"before": scores(-0.5, -0.5), "after": scores(-4.0, -5.0), "blend:75": scores(-2.0, -2.0)}
    lines, bars = tokens.along(by_voice, NAMES, 1, LIGHT), tokens.totals(by_voice, NAMES, LIGHT)
    assert [trace.name for trace in lines.data] == ["Before", "After", "&lt;b&gt;Blend&lt;/b&gt;"]
    assert list(bars.data[0].x) == [-1.0, -9.0, -4.0]
    assert list(tokens.totals({"before": scores(-0.001)}, NAMES, LIGHT).data[0].text) == ["0.0"]
    for text in (*lines.data[0].text, *bars.data[0].y, *lines.layout.xaxis.ticktext):
        assert "<" not in text


def test_the_dial_draws_both_scopes_and_only_known_probabilities() -> None:
    rows = [{"strength": s, "unlearn": s / 2, "retention": 100 - s, "logprob": None if s else -1.0} for s in (0, 50)]
    fig = strength_dial.scopes(rows, 75, LIGHT)
    assert [trace.line.dash for trace in fig.data] == ["dash", "solid"]
    assert fig.layout.shapes[0].x0 == 75
    assert list(strength_dial.truth(rows, 75, LIGHT).data[0].x) == [0]


@pytest.mark.parametrize("names", [["layer 0", "layer 1"], ["mlp.up_proj", "self_attn.<b>"]])
def test_what_is_held_is_the_gain_over_after(names: list[str]) -> None:
    recovery = {"after": -10.0, "rows": [{"name": n, "logprob": -10.0 + i} for i, n in enumerate(names)]}
    (bar,) = strength_dial.held(recovery, names[1], LIGHT).data
    gains = bar.x if bar.get("orientation") == "h" else bar.y
    assert list(gains) == [0.0, 1.0]
    assert list(bar.marker.color) == [LIGHT.retention, LIGHT.accent]
    assert not any("<b>" in str(text) for text in bar.customdata)
