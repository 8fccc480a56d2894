from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from core.data.corpus import SCOPES
from core.localization.measures import MEASURES
from core.models import cells
from core.runs import store
from dashboard.charts import cell, curves, differences, heatmap, separability, strength_dial, tokens
from dashboard.charts.palette import DARK, LIGHT
from dashboard.charts.scatter import scatter
from dashboard.widgets.plot import plain


def table_of(layers: int = 3, modules: tuple[str, ...] = ("self_attn.q_proj", "mlp.up_proj")) -> pd.DataFrame:
    source = np.random.default_rng(0)
    rows = []
    for layer in range(layers):
        for module in modules:
            for factor, shape in (("A", (2, 5)), ("B", (7, 2))):
                u, r = source.normal(size=(2, *shape))
                rows.append(
                    {
                        "name": f"model.layers.{layer}.{module}.lora_{factor}",
                        "layer": layer,
                        "module": module,
                        "factor": factor,
                        "rows": shape[0],
                        "columns": shape[1],
                        "cos": float((u * r).sum() / np.linalg.norm(u) / np.linalg.norm(r)),
                        "mag_unlearn": float(np.abs(u).mean()),
                        "mag_retain": float(np.abs(r).mean()),
                        "norm_unlearn": float(np.linalg.norm(u)),
                        "norm_retain": float(np.linalg.norm(r)),
                        "divergence": 0.1,
                        "has_gradient": True,
                        "norm_change": 0.5 * (layer == 0),
                        "score_removal": layer - 1.0 + (module == modules[0]) / 2,
                        "u": u,
                        "r": r,
                    }
                )
    return pd.DataFrame(rows)


@pytest.fixture
def table() -> pd.DataFrame:
    return table_of()


def trace(fig, name: str):  # type: ignore[no-untyped-def]
    return next(t for t in fig.data if t.name == name)


def test_joined_cells_equal_one_long_gradient(table: pd.DataFrame) -> None:
    both = cells.joined(table)
    assert len(both) == len(table) // 2
    for row in both.itertuples():
        parts = table[(table["layer"] == row.layer) & (table["module"] == row.module)]
        u, r = (np.concatenate([x.ravel() for x in parts[s]]) for s in ("u", "r"))
        assert row.cos == pytest.approx(u @ r / np.linalg.norm(u) / np.linalg.norm(r))
        assert row.mag_unlearn == pytest.approx(np.abs(u).mean())
        assert row.divergence == pytest.approx((1 - row.cos) * row.mag_unlearn)


def test_factors_stand_in_two_blocks_with_a_gap(table: pd.DataFrame) -> None:
    layout = cells.layout(table)
    assert list(layout.rows.values()) == [0, 1, 3, 4]
    matrix = layout.matrix(table, range(len(table)))
    assert matrix.shape == (5, 3)
    assert np.isnan(matrix[2]).all()


def test_outline_has_four_sides_for_one_cell_and_six_for_two() -> None:
    one = np.array([[True, False]])
    assert cells.outline(one)[0].count(None) == 4
    assert cells.outline(np.array([[True, True]]))[0].count(None) == 6


def test_an_outline_that_runs_within_its_cells_is_closed() -> None:
    inside = np.array([[1, 0, 0, 1], [1, 1, 0, 0], [0, 1, 1, 0]]) > 0
    x, y = cells.outline(inside, 0.1)
    ends = [(round(a, 9), round(b, 9)) for a, b in zip(x, y, strict=True) if a is not None and b is not None]
    assert all(ends.count(end) == 2 for end in ends)
    assert len(ends) == 2 * cells.outline(inside)[0].count(None)
    for (a, b), (c, d) in zip(ends[::2], ends[1::2], strict=True):
        assert inside[round((b + d) / 2), round((a + c) / 2)]


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("join", [False, True])
@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_every_measure_draws_all_cells_alike_and_outlines_the_selected(
    table: pd.DataFrame,
    measure: str,
    join: bool,
    palette,  # type: ignore[no-untyped-def]
) -> None:
    region = table["name"].tolist()[:3]
    fig = heatmap.heatmap(table, measure, region, region[0], palette, join=join)
    cells_drawn, drawn = trace(fig, "all"), [one for one in fig.data if one.type == "heatmap"]
    assert len(drawn) == 1
    assert "opacity" not in drawn[0]
    edge, line = trace(fig, "outline edge"), trace(fig, "outline")
    assert edge.x == line.x
    assert edge.line["width"] > line.line["width"]
    names = [name for row in cells_drawn.customdata for name in row if name]
    assert len(names) == len(table) // (2 if join else 1)
    assert set(names) <= set(table["name"])


@pytest.mark.parametrize("measure", ["cosine", "forget", "divergence"])
def test_two_maps_side_by_side_have_one_scale(table: pd.DataFrame, measure: str) -> None:
    column = MEASURES[measure].column
    other = table.assign(**{column: table[column] * 0.5})
    ends = heatmap.common([table, other], measure, LIGHT, join=False)
    figs = [heatmap.heatmap(one, measure, [], None, LIGHT, ends=ends) for one in (table, other)]
    assert {(trace(fig, "all").zmin, trace(fig, "all").zmax) for fig in figs} == {ends}
    both = np.concatenate([np.array(trace(fig, "all").z, float).ravel() for fig in figs])
    assert (np.nanmin(both), np.nanmax(both)) == pytest.approx(ends)


def test_what_is_shared_least_is_darkest_on_a_scale_of_the_data(table: pd.DataFrame) -> None:
    fig = heatmap.heatmap(table, "cosine", [], None, LIGHT)
    assert (fig.data[0].zmin, fig.data[0].zmax) == (table["cos"].min(), table["cos"].max())
    positions, colors = zip(*fig.data[0].colorscale, strict=True)
    assert positions == (0.0, 0.5, 1.0)
    assert (colors[0], colors[-1]) == (LIGHT.apart[-1][1], LIGHT.apart[0][1])
    assert fig.data[0].colorbar["ticktext"] == [
        f"{end:.2f}".replace("-", "−") for end in (table["cos"].min(), table["cos"].max())
    ]


def test_another_region_is_dotted_within_the_outline(table: pd.DataFrame) -> None:
    names = table["name"].tolist()
    fig = heatmap.heatmap(table, "cosine", names[:2], None, LIGHT, other=names[:1])
    assert min(x for x in trace(fig, "other").x if x is not None) > min(x for x in trace(fig, "outline").x if x is not None)
    assert trace(fig, "other").line["dash"] == "dot"
    assert "other" not in [one.name for one in heatmap.heatmap(table, "cosine", names[:2], None, LIGHT).data]


def test_cells_without_gradient_are_hatched_and_not_coloured(table: pd.DataFrame) -> None:
    table.loc[0, ["has_gradient", "cos"]] = [False, np.nan]
    fig = heatmap.heatmap(table, "forget", table["name"].tolist()[1:3], None, LIGHT)
    assert len(trace(fig, "no gradient").x) == 1
    assert np.isnan(fig.data[0].z[0][0])


def test_what_a_module_holds_is_one_value_of_both_its_factors(table: pd.DataFrame) -> None:
    assert cells.joined(table)["score_removal"].tolist() == [-0.5, -1.0, 0.5, 0.0, 1.5, 1.0]
    fig = heatmap.heatmap(table, "held", [], None, LIGHT)
    live = table["score_removal"]
    # Where nothing would be lost by taking it away, the colour is the palest, that of the smallest above 0.
    shown = np.array(fig.data[0].z, float)
    assert np.nanmin(shown) == pytest.approx(np.log10(live[live > 0].min()))
    assert np.isfinite(shown).sum() == len(live)


def test_unchanged_cells_have_no_colour_and_joined_changes_add_as_squares(table: pd.DataFrame) -> None:
    fig = heatmap.heatmap(table, "change", table["name"].tolist()[:4], None, LIGHT)
    assert np.isfinite(fig.data[0].z).sum() == 4
    assert cells.joined(table)["norm_change"].iloc[0] == pytest.approx(np.sqrt(0.5))


def test_linear_colours_start_at_zero_and_intensity_moves_the_scale(table: pd.DataFrame) -> None:
    linear = heatmap.heatmap(table, "forget", [], None, LIGHT, ruler=heatmap.Ruler(logarithmic=False))
    assert (linear.data[0].zmin, linear.data[0].zmax) == (0, table["mag_unlearn"].max())
    assert heatmap.intensified([(0.0, "a"), (0.5, "b"), (1.0, "c")], 2.0) == [(0.0, "a"), (0.25, "b"), (1.0, "c")]


@pytest.mark.parametrize("kind", differences.KINDS)
def test_differences_are_this_minus_other(table: pd.DataFrame, kind: str) -> None:
    other = table.assign(cos=table["cos"] - 0.25, mag_unlearn=table["mag_unlearn"] / 10, mag_retain=table["mag_retain"] * 10)
    names = table["name"].tolist()
    z = np.array(differences.difference(table, other, kind, (names[:2], names[1:3]), LIGHT).data[0].z, float)
    values = sorted(z[np.isfinite(z)].round(6))
    if kind == "region":
        assert values == sorted([2, 3, 1] + [0] * (len(table) - 3))
    else:
        assert set(values) == {{"cosine": 0.25, "forget": 1.0, "retain": -1.0}[kind]}


def test_names_in_hover_texts_are_escaped(table: pd.DataFrame) -> None:
    table["module"] = "<img src=x onerror=alert(1)>"
    fig = heatmap.heatmap(table.iloc[:2], "cosine", [], None, LIGHT)
    texts = "".join(text for row in trace(fig, "all").text for text in row)
    assert "layer" in texts
    assert "<img" not in texts + "".join(fig.layout.yaxis.ticktext)


def test_scatter_parts_region_and_rest(table: pd.DataFrame) -> None:
    region = table["name"].tolist()[:4]
    fig = scatter(table, region, (0.5, 0.3), region[0], LIGHT)
    assert [len(t.x) for t in fig.data] == [len(table), 1]
    marks = trace(fig, "tensors").marker
    assert [mark == "x" for mark in marks.symbol] == [name in region for name in table["name"]]
    assert set(marks.color) == {LIGHT.accent, LIGHT.before}
    assert len(fig.layout.shapes) == 3
    by_hand = scatter(table, region, None, region[0], LIGHT)
    assert not by_hand.layout.get("shapes"), "thresholds that selected nothing are not drawn"


def test_a_flat_or_empty_localization_still_draws(table: pd.DataFrame) -> None:
    table["mag_unlearn"] = 0.0
    table["has_gradient"] = False
    assert heatmap.heatmap(table, "forget", [], None, LIGHT).data
    assert scatter(table, [], (0.5, 0.0), None, LIGHT).data is not None


def test_cell_is_cut_out_of_the_flat_arrays() -> None:
    run = store.bundled_runs()[0]
    table = run.table("localization")
    assert table is not None
    with np.load(run.path / "detail.npz") as detail:
        for number in (0, 1, len(table) - 1):
            inside = cell.take(detail, number)
            assert len(inside.rows["unlearn"]) == table["rows"][number]
            assert len(inside.columns["retention"]) == table["columns"][number]
            assert inside.histogram["unlearn"].sum() == table["rows"][number] * table["columns"][number]
    assert len(cell.histogram(inside, LIGHT).data) == 2
    assert len(cell.profile(inside, "row", DARK).data) == 2


def test_curves_show_the_last_attempt_only() -> None:
    def step(done: int, **values: float) -> dict[str, object]:
        return {"kind": "progress", "stage": "unlearn", "done": done, "forget_loss": 1.0, "retain_loss": 2.0, **values}

    start = {"kind": "stage", "name": "unlearn", "stage": "unlearn", "state": "running"}
    events = [start, step(1), step(2), start, step(1, unlearn=90.0, retention=99.0)]
    assert len(curves.losses(events, LIGHT).data[0].x) == 1
    checks = curves.checks(events, 35.0, LIGHT)
    assert list(checks.data[0].y) == [90.0]
    assert checks.layout.shapes[0].y0 == 35.0


def test_losses_show_whatever_parts_a_method_looks_at() -> None:
    def of(**values: float) -> list[str]:
        return [
            trace.name
            for trace in curves.losses([{"kind": "progress", "stage": "unlearn", "done": 1, **values}], LIGHT).data
        ]

    assert of(forget_loss=1.0) == ["✖ to forget"]
    assert of(retain_loss=1.0, refusal_loss=2.0) == ["● to keep", "refusals"]
    assert of(general_loss=1.0) == ["general text"]
    assert of() == []


def test_curves_of_a_finished_stage_reach_the_last_check() -> None:
    result = store.bundled_runs()[0].json("unlearn.json")
    fig = curves.checks(curves.of_result(result), result["target"], LIGHT)
    assert list(fig.data[0].x) == [check["step"] for check in result["checks"]]


def test_palettes_are_those_of_the_theme() -> None:
    import tomllib

    from dashboard.__main__ import CONFIG

    theme = tomllib.loads(CONFIG.read_text(encoding="utf-8"))["theme"]
    for name, palette in (("light", LIGHT), ("dark", DARK)):
        assert theme[name]["backgroundColor"] == palette.background
        assert theme[name]["secondaryBackgroundColor"] == palette.surface
        assert theme[name]["textColor"] == palette.text


def probed(**rows: list[float]) -> pd.DataFrame:
    auc_table = separability.usable(
        pd.DataFrame({"layer": [0, 1, 2], "auc": [0.5, 0.8, 0.9], "low": [0.4, 0.7, 0.8], "high": [0.6, 0.9, 1.0], **rows})
    )
    assert auc_table is not None
    return auc_table


def test_separability_is_a_line_of_its_own_above_the_bars(table: pd.DataFrame) -> None:
    bare, fig = (heatmap.heatmap(table, "cosine", [], None, LIGHT, separability=auc_table) for auc_table in (None, probed()))
    assert fig.layout.height == bare.layout.height + separability.HEIGHT
    line, band = trace(fig, "separability"), trace(fig, "separability folds")
    layers = cells.layout(table).layers
    assert line.y[: len(layers)] == [0.5, 0.8, 0.9][: len(layers)]
    assert "0.80" in line.text[1]
    assert "0.70 to 0.90" in line.text[1]
    assert band.y == [0.6, 0.9, 0.7, 0.4] if len(layers) == 2 else band.y[0] == 0.6
    domains = [fig.layout[name].domain for name in ("yaxis", "yaxis2", "yaxis3")]
    assert [low for low, _ in domains] == sorted(low for low, _ in domains)
    assert all(high < low for (_, high), (low, _) in pairwise(domains)), "none lies over another"
    assert domains[-1][1] == 1
    names = [one.name for one in fig.data if one.type == "scatter"]
    assert names[-2:] == ["separability folds", "separability"], "the page's script counts the scatter traces before"


def test_separability_below_guessing_and_unknown_layers_are_drawn_as_they_are(table: pd.DataFrame) -> None:
    fig = heatmap.heatmap(table, "cosine", [], None, LIGHT, separability=probed(low=[0.1, 0.7, 0.8]))
    assert fig.layout.yaxis3.range[0] < 0.1
    alien = probed(layer=[70, 71, 72])
    assert np.isnan(trace(heatmap.heatmap(table, "cosine", [], None, LIGHT, separability=alien), "separability").y).all()
    assert separability.summary(alien, [0, 1]) == separability.summary(None, [0, 1]) == ""
    assert "at layer 1 (AUC 0.80)" in separability.summary(probed(), [0, 1])


def test_held_out_questions_are_shown_rather_than_folds_and_said(table: pd.DataFrame) -> None:
    held = probed(val=[0.5, 0.6, 0.7], val_low=[0.3, 0.4, 0.5], val_high=[0.7, 0.8, 0.9])
    line = trace(heatmap.heatmap(table, "cosine", [], None, LIGHT, separability=held), "separability")
    assert line.y[:2] == [0.5, 0.6]
    assert "95 % interval 0.40 to 0.80" in line.text[1]
    words = (separability.help_text, separability.said)
    assert all("on questions it was not fitted on" in say(held) for say in words)
    assert not any("on questions it was not fitted on" in say(probed()) for say in words)
    assert "flatters" in separability.help_text(probed())
    assert "layer 1 on questions it was not fitted on (AUC 0.60)" in separability.summary(held, [0, 1])


@pytest.mark.parametrize(
    "foreign",
    [
        None,
        pd.DataFrame({"layer": [1]}),
        pd.DataFrame({"layer": ["<b>"], "auc": ["x"], "low": [0], "high": [1]}),
        pd.DataFrame({"layer": [0], "auc": [np.inf], "low": [0.1], "high": [1.0]}),
    ],
)
def test_a_table_that_holds_no_separability_is_none(foreign: pd.DataFrame | None) -> None:
    assert separability.usable(foreign) is None


def test_every_chart_is_valid_plotly(table: pd.DataFrame) -> None:
    """The charts are written as plotly's JSON; plotly's own classes refuse a key or value that it does not know."""
    run, region = store.bundled_runs()[0], table["name"].tolist()[:4]
    result, detail = run.json("unlearn.json"), dict(np.load(run.path / "detail.npz"))
    events, inside = curves.of_result(result), cell.take(detail, 3)
    rows = [{"strength": s, "unlearn": 10.0, "retention": 90.0, "logprob": -1.0} for s in (0, 50, 100)]
    held = {"after": -10.0, "rows": [{"name": "layer 0", "logprob": -9.0}]}
    scores = {voice: [{"text": "a", "logprob": -0.5, "rank": 1, "top": []}] for voice in ("before", "after")}
    charts = [
        *(heatmap.heatmap(table, measure, region, region[0], LIGHT, join=join) for measure in MEASURES for join in (0, 1)),
        heatmap.heatmap(table, "cosine", region, None, DARK, separability=probed()),
        scatter(table, region, (0.5, 0.3), region[0], DARK),
        curves.checks(events, result["target"], LIGHT),
        curves.losses(events, LIGHT),
        curves.teaching(events, LIGHT),
        cell.histogram(inside, LIGHT),
        cell.profile(inside, "row", LIGHT),
        *(differences.difference(table, table, kind, (region, region[1:]), LIGHT) for kind in differences.KINDS),
        strength_dial.scopes(rows, 75, LIGHT),
        strength_dial.truth(rows, 75, LIGHT),
        strength_dial.held(held, "layer 0", LIGHT),
        tokens.along(scores, {"before": "Before", "after": "After"}, 0, LIGHT),
        tokens.totals(scores, {"before": "B", "after": "A"}, LIGHT),
    ]
    for fig in charts:
        go.Figure(**plain(fig))


def test_experts_with_modules_of_one_name_are_told_apart() -> None:
    experts = [f"block_sparse_moe.experts.{i}.{w}" for i in (1, 11) for w in ("w1", "w2")]
    names = cells.labels(["self_attn.q_proj", *experts, "w3"])
    assert names["self_attn.q_proj"] == "q_proj"
    assert names[experts[0]] == "experts.1.w1"
    assert names[experts[2]] == "experts.11.w1"
    assert names["w3"] == "w3"
    assert len(set(names.values())) == 6


def test_joined_cells_say_which_factor_is_selected_and_bars_count_tensors(table: pd.DataFrame) -> None:
    region = table["name"].tolist()[:3]
    fig = heatmap.heatmap(table, "cosine", region, None, LIGHT, join=True)
    texts = "".join(text for row in trace(fig, "all").text for text in row)
    assert texts.count("<br>in the region: A and B") == texts.count("<br>in the region: A only") == 1
    assert sum(trace(fig, "layers").y) == sum(trace(fig, "modules").x) == 3


def test_a_joined_difference_has_a_cell_a_module_and_a_module_is_in_a_region_that_has_a_factor_of_it(
    table: pd.DataFrame,
) -> None:
    first, last = table["name"].iloc[0], table["name"].iloc[-1]
    fig = differences.difference(table, table, "region", ([first], [first, last]), LIGHT, join=True)
    z = np.array(fig.data[0].z, float)
    assert z.size == len(table) / 2
    assert sorted(z[z > 0]) == [1.0, 3.0]


def test_what_is_the_same_everywhere_has_no_made_up_scale(table: pd.DataFrame) -> None:
    still = heatmap.heatmap(table.assign(norm_change=0.0), "change", [], None, LIGHT)
    assert trace(still, "all").colorbar["tickvals"] == []
    assert differences.difference(table, table, "cosine", ([], []), LIGHT).data[0].colorbar["ticktext"] == ["0"]


def test_heads_are_called_what_they_are() -> None:
    rms = {scope: np.ones(3) for scope in SCOPES}
    fig = cell.profile(cell.Inside(1.0, {}, rms, rms, rms, ["q0", "k0", "v0"]), "head", LIGHT)
    assert fig.layout.xaxis.ticktext == ["q0", "k0", "v0"]
    assert fig.data[0].text == ["q0", "k0", "v0"]


def test_the_table_behind_a_difference_has_both_values_of_every_tensor(table: pd.DataFrame) -> None:
    names, other = table["name"].tolist(), table.assign(cos=table["cos"] - 0.25)
    frame = differences.numbers(table, other, "cosine", (names[:2], names[1:3]))
    assert frame["difference"].round(6).tolist() == [0.25] * len(table)
    assert frame["regions"].tolist()[:4] == ["only in this one", "in both", "only in the other", "in neither"]
    assert "difference" not in differences.numbers(table, other, "region", (names[:2], names[1:3]))
