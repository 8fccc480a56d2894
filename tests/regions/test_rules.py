"""Each rule against the plain reading of its definition."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.config.run_config import RunConfig
from core.localization import scores
from core.regions import (
    PUBLISHED,
    REGIONS,
    All,
    Cells,
    Complement,
    Late,
    Layers,
    Located,
    Modules,
    Random,
    RatioLayers,
    Region,
    Scored,
    Separable,
    Top,
    choose,
    parse,
)
from core.regions.scored import SCORES
from core.runs import store
from core.util.errors import UserError


@pytest.fixture
def table() -> pd.DataFrame:
    """Return a localization table of 4 layers, 3 modules, 2 factors; two cells have no gradient."""
    source = np.random.default_rng(0)
    rows = [
        {"name": f"layers.{layer}.{module}.lora_{factor}", "layer": layer, "module": module, "factor": factor}
        for layer in range(4)
        for module in ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj")
        for factor in "AB"
    ]
    frame = pd.DataFrame(rows)
    frame["cos"] = source.uniform(-0.2, 1.0, len(rows))
    frame["mag_unlearn"] = source.uniform(1e-4, 1e-2, len(rows))
    for norm in ("norm_unlearn", "norm_retain"):
        frame[norm] = source.uniform(0.1, 1.0, len(rows))
    frame["auc"] = frame["layer"].map({0: 0.5, 1: 0.91, 2: 0.97, 3: 0.91})
    frame["has_gradient"] = True
    # One cell on either side of every published pair of thresholds.
    frame.loc[1, ["cos", "mag_unlearn"]] = [0.97, 1e-2]
    frame.loc[2, ["cos", "mag_unlearn"]] = [0.1, 1e-4]
    for dead in (8, 9):  # both factors of one module
        frame.loc[dead, ["cos", "mag_unlearn", "norm_unlearn", "norm_retain", "has_gradient"]] = [math.nan, 0, 0, 0, False]
    frame["has_gradient"] = frame["has_gradient"].astype(bool)
    frame["divergence"] = (1 - frame["cos"]) * frame["mag_unlearn"]
    return frame


def naive_located(table: pd.DataFrame, mu: float, sigma: float) -> list[str]:
    return [r.name for r in table.itertuples(index=False) if r.has_gradient and r.cos < mu and r.mag_unlearn > sigma]


def test_absolute_thresholds(table: pd.DataFrame) -> None:
    rule = Located(thresholds="absolute", mu=0.5, sigma=4e-3)
    expected = naive_located(table, 0.5, 4e-3)
    assert 0 < len(expected) < 22
    assert choose(rule, table) == expected


def test_quantile_thresholds_ignore_cells_without_gradient(table: pd.DataFrame) -> None:
    live = table[table["has_gradient"]]
    mu, sigma = np.quantile(live["cos"], 0.7), np.quantile(live["mag_unlearn"], 0.2)
    assert Located(mu=0.7, sigma=0.2).limits(table) == pytest.approx((mu, sigma), rel=1e-12)
    assert choose(Located(mu=0.7, sigma=0.2), table) == naive_located(table, mu, sigma)


def test_thresholds_are_strict() -> None:
    table = pd.DataFrame(
        {"name": list("abc"), "cos": [0.5, 0.4, 0.4], "mag_unlearn": [2.0, 1.0, 2.0], "has_gradient": [True] * 3}
    )
    assert Located(thresholds="absolute", mu=0.5, sigma=1.0).select(table) == ["c"]


@pytest.mark.parametrize("key", PUBLISHED)
def test_published_thresholds(table: pd.DataFrame, key: tuple[str, str]) -> None:
    rule = Located(thresholds="published", published=":".join(key))
    assert choose(rule, table) == naive_located(table, *PUBLISHED[key])


@pytest.mark.parametrize(
    ("model", "subset", "own"),
    [
        ("meta-llama/Llama-2-7b-chat-hf", "privacy", True),
        ("meta-llama/Llama-2-7b-chat-hf", "copyright", False),
        ("bundled", "privacy", False),
    ],
)
def test_thresholds_of_another_model_or_subset_are_said_to_be_theirs(model: str, subset: str, own: bool) -> None:
    said = Located(thresholds="published").borrowed(model, subset)
    assert not said if own else "published for llama-2-7b on privacy" in said
    assert Located(thresholds="quantile").borrowed(model, subset) == ""


def test_published_values_are_table_12() -> None:
    assert PUBLISHED["llama-2-7b", "copyright"] == (0.92, 6e-4)
    assert PUBLISHED["llama-2-7b", "privacy"] == (0.96, 4e-4)
    assert PUBLISHED["qwen1.5-7b", "copyright"] == (0.94, 7e-4)
    assert PUBLISHED["qwen1.5-7b", "privacy"] == (0.94, 2e-4)


def test_complement_is_what_is_left(table: pd.DataFrame) -> None:
    located, rest = choose(Located(), table), choose(Complement(), table)
    assert not set(located) & set(rest)
    assert sorted(located + rest) == sorted(table.loc[table["has_gradient"], "name"])


def test_random_has_the_located_count(table: pd.DataFrame) -> None:
    assert len(choose(Random(), table)) == len(choose(Located(), table))


def test_random_depends_on_its_draw_only(table: pd.DataFrame) -> None:
    assert choose(Random(draw=3), table) == choose(Random(draw=3), table)
    assert len({tuple(choose(Random(draw=d), table)) for d in range(5)}) > 1


def test_random_can_keep_the_mix_of_modules(table: pd.DataFrame) -> None:
    def mix(names: list[str]) -> Counter[tuple[str, str]]:
        inside = table[table["name"].isin(names)]
        return Counter(zip(inside["module"], inside["factor"], strict=True))

    located = mix(choose(Located(mu=0.8), table))
    for draw in range(4):
        assert mix(choose(Random(mu=0.8, draw=draw, same_mix=True), table)) == located


def test_all_takes_every_cell_with_gradient(table: pd.DataFrame) -> None:
    assert choose(All(), table) == table.loc[table["has_gradient"], "name"].tolist()


def test_layers_are_inclusive(table: pd.DataFrame) -> None:
    chosen = choose(Layers(1, 2), table)
    assert chosen == [r.name for r in table.itertuples() if r.layer in (1, 2) and r.has_gradient]


def test_top_takes_the_highest_divergence(table: pd.DataFrame) -> None:
    live = [r for r in table.itertuples(index=False) if r.has_gradient]
    best = {r.name for r in sorted(live, key=lambda r: (r.cos - 1) * r.mag_unlearn)[:4]}
    expected = [r.name for r in live if r.name in best]
    assert choose(Top("4"), table) == choose(Top("20%"), table) == expected, "20 % of 22 tensors with a gradient are 4"


def test_late_counts_layers_from_the_end(table: pd.DataFrame) -> None:
    def layers(rule: Region) -> set[int]:
        return set(table.set_index("name").loc[choose(rule, table), "layer"])

    assert layers(Late()) == {3}, "a third of four layers is one"
    assert layers(Late("2")) == layers(Late("50%")) == {2, 3}
    assert choose(Late("2"), table) == choose(Layers(2, 3), table)


def test_ratio_layers_follow_the_norms_of_whole_layers(table: pd.DataFrame) -> None:
    ratios = {}
    for layer in range(4):
        rows = [r for r in table.itertuples(index=False) if r.layer == layer and r.has_gradient]
        ratios[layer] = math.hypot(*(r.norm_unlearn for r in rows)) / math.hypot(*(r.norm_retain for r in rows))
    for count in (1, 2, 3):
        best = sorted(ratios, key=ratios.__getitem__)[-count:]
        expected = table.loc[table["layer"].isin(best) & table["has_gradient"], "name"].tolist()
        assert choose(RatioLayers(str(count)), table) == expected


def test_separable_takes_the_best_probe_and_of_equal_layers_the_later(table: pd.DataFrame) -> None:
    assert choose(Separable("1"), table) == choose(Layers(2, 2), table)
    assert choose(Separable("2"), table) == choose(Layers(2, 3), table)


def test_separable_says_what_old_runs_lack(table: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="before separability"):
        choose(Separable(), table.drop(columns="auc"))
    with pytest.raises(UserError, match="too few train questions"):
        choose(Separable(), table.assign(auc=math.nan))


def test_tensors_outside_layers_are_in_no_layer_rule(table: pd.DataFrame) -> None:
    more = pd.concat([table, table.iloc[[4]].assign(name="lm_head.lora_A", layer=-1, auc=1.0, norm_unlearn=99.0)])
    more = more.reset_index(drop=True)
    for rule in (Late(), RatioLayers(), Separable()):
        assert choose(rule, more) == choose(rule, table)


@pytest.mark.parametrize("rule", [All(), Layers(0, 3), Modules(("q_proj", "v_proj", "up_proj")), Late("4")])
def test_a_fresh_update_is_reached_as_a_whole_though_only_b_has_a_gradient_at_first(
    table: pd.DataFrame, rule: Region
) -> None:
    fresh = table.assign(has_gradient=table["has_gradient"] & (table["factor"] == "B"))
    assert choose(rule, fresh) == choose(rule, table)
    (first, *_) = choose(rule, fresh)
    assert choose(Cells((first,)), fresh) == [first]
    assert first.endswith("lora_A")


@pytest.mark.parametrize("kind", [Top, Late, RatioLayers, Separable])
@pytest.mark.parametrize("amount", ["", "0", "0%", "101%", "-3", "a third", "1.5", "5 layers"])
def test_an_amount_is_a_share_or_a_number(kind: type[Top], amount: str) -> None:
    with pytest.raises(UserError, match="no amount"):
        kind(amount)


def test_more_than_there_are_is_an_error(table: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="There are 4 layers, fewer than 5"):
        choose(Late("5"), table)


@pytest.mark.parametrize("module", ["q_proj", "self_attn.q_proj"])
def test_modules_by_path_or_last_part(table: pd.DataFrame, module: str) -> None:
    expected = [r.name for r in table.itertuples() if r.module == "self_attn.q_proj" and r.has_gradient]
    assert choose(Modules((module,)), table) == expected


def test_unknown_module_names_the_nearest(table: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="Did you mean “q_proj”"):
        choose(Modules(("q_prj",)), table)


def test_cells_by_hand_come_in_table_order(table: pd.DataFrame) -> None:
    names = table["name"].tolist()
    assert choose(Cells((names[5], names[2])), table) == [names[2], names[5]]


def test_cell_without_gradient_cannot_be_chosen_by_hand(table: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="no gradient"):
        choose(Cells((table.loc[8, "name"],)), table)


def test_unknown_cell_is_refused(table: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="no tensor"):
        choose(Cells(("layers.9.mlp.lora_A",)), table)


@pytest.mark.parametrize(
    "rule",
    [
        *(All(), Located(), Complement(), Random(), Random(same_mix=True), Layers(), Modules(("q_proj", "up_proj"))),
        *(Top("22"), Late("4"), RatioLayers("4"), Separable("4")),
    ],
)
def test_no_rule_takes_a_cell_without_gradient(table: pd.DataFrame, rule: Region) -> None:
    assert not set(choose(rule, table)) & set(table.loc[~table["has_gradient"], "name"])


@pytest.mark.parametrize("rule", [Located(mu=0.0), Layers(8, 9), Cells(())])
def test_selecting_nothing_is_an_error(table: pd.DataFrame, rule: Region) -> None:
    with pytest.raises(UserError):
        choose(rule, table)


@pytest.mark.parametrize("kind", [Located, Random])
def test_locating_everything_is_an_error(table: pd.DataFrame, kind: type[Located]) -> None:
    with pytest.raises(UserError, match="every"):
        choose(kind(thresholds="absolute", mu=1.0, sigma=0.0), table)


def test_complement_of_everything_is_an_error(table: pd.DataFrame) -> None:
    with pytest.raises(UserError):
        choose(Complement(thresholds="absolute", mu=1.0, sigma=0.0), table)


def test_quantile_beyond_one_is_an_error(table: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="between 0 and 1"):
        choose(Located(sigma=4e3), table)


def test_scored_takes_both_factors_of_the_highest_modules(table: pd.DataFrame) -> None:
    assert set(SCORES) <= set(scores.SCORES)
    # By hand: module 5 is the highest, then 2; module 11 has no score, and tensors 0 and 9 no gradient.
    of = {number: float(number) for number in range(12)} | {5: 30.0, 2: 20.0, 11: math.nan}
    scored = table.assign(score_removal=[of[row // 2] for row in range(len(table))])
    assert choose(Scored(amount="2"), scored) == table["name"].iloc[[4, 5, 10, 11]].tolist()
    assert choose(Scored(amount="100%"), scored) == [
        name for row, name in enumerate(table["name"]) if row < 22 and table["has_gradient"][row]
    ]
    with pytest.raises(UserError, match="not scored"):
        choose(Scored(), table)


def test_every_rule_can_be_written_in_words() -> None:
    texts = {"layers": "layers:1-2", "modules": "modules:q_proj", "cells": "cells:a,b"}
    for name, kind in REGIONS.items():
        assert type(parse(texts.get(name, name), Located())) is kind


def test_parsing_reads_ranges_and_lists() -> None:
    assert parse("layers:4-9", All()) == Layers(4, 9)
    assert parse("layers:4", All()) == Layers(4, 4)
    assert parse("layers:4-", All()) == Layers(4)
    assert parse("modules:q_proj, v_proj", All()) == Modules(("q_proj", "v_proj"))
    assert parse("cells:a,b", All()) == Cells(("a", "b"))
    assert parse("top:80", All()) == Top("80")
    assert parse("late:33%", All()) == Late("33%")
    assert parse("ratio-layers:5", All()) == RatioLayers("5")
    assert parse("score:update:7", All()) == Scored("update", "7")
    assert parse("score", All()) == Scored("removal", "20%")
    assert parse("separable", All()) == Separable()


def test_parsing_keeps_the_thresholds() -> None:
    rule = parse("random", Located(thresholds="absolute", mu=0.9, sigma=1e-4))
    assert (rule.thresholds, rule.mu, rule.sigma) == ("absolute", 0.9, 1e-4)  # type: ignore[attr-defined]


UNREADABLE = [
    "layers",
    "layers:a-b",
    "layers:-3",
    "located-ish",
    "all:3",
    "late:x",
    "top:0%",
    "score:luck",
    "score:removal:x",
]


@pytest.mark.parametrize("text", UNREADABLE)
def test_unreadable_rule_is_an_error(text: str) -> None:
    with pytest.raises(UserError):
        parse(text, All())


def test_advice_for_the_complement_is_the_other_way_round(table: pd.DataFrame) -> None:
    strict, loose = {"thresholds": "absolute", "mu": -1.0, "sigma": 1.0}, {"thresholds": "absolute", "mu": 1.0, "sigma": 0.0}
    for rule, advice in (
        (Located(**strict), "Raise mu"),
        (Located(**loose), "Lower mu"),
        (Complement(**strict), "Raise mu"),
        (Complement(**loose), "Lower mu"),
    ):
        with pytest.raises(UserError) as error:
            choose(rule, table)
        assert error.value.fix.startswith(advice)


def test_quantiles_that_are_none_are_refused_when_a_run_is_made(tmp_path: Path) -> None:
    for order in (("sigma", 2.0), ("thresholds", "absolute")), (("thresholds", "absolute"), ("sigma", 2.0)):
        config = RunConfig()
        for key, value in order:
            config = config.with_setting(f"region.{key}", value)
        config.region.check()
    with pytest.raises(UserError, match="Quantiles lie between 0 and 1"):
        store.create(config.with_setting("region.thresholds", "quantile"), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
