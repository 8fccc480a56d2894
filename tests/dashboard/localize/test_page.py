from __future__ import annotations

import dataclasses
import json
import re

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from core.config.run_config import RunConfig
from core.jobs import lifecycle
from core.localization.measures import MEASURES
from core.regions import Cells, Located
from core.regions.matched import matched
from core.regions.words import words
from core.runs import saved_regions, store
from core.runs.store import Run
from core.util.errors import UserError
from dashboard import pages
from dashboard.localize import in_words
from dashboard.widgets import selection
from dashboard.widgets.selection import Selection
from tests.dashboard.charts.test_charts import table_of
from tests.dashboard.conftest import MakeRun, Open, control, text_of


def count(app: AppTest) -> int:
    return int(next(re.search(r"(\d+) of \d+ tensors", m.value) for m in app.markdown if m.value.startswith("###"))[1])  # type: ignore[index]


def bundled(run: Run | None = None) -> pd.DataFrame:
    table = (run or store.bundled_runs()[0]).table("localization")
    assert table is not None
    return table


def located() -> Run:
    """The first bundled run whose region thresholds chose."""
    return next(run for run in store.bundled_runs() if type(run.config().region) is Located)


def test_a_selection_survives_the_address() -> None:
    table, own = table_of(), Selection(Located())
    for chosen in (
        Selection(Located("quantile", 0.25, 0.75)),
        Selection(Located("absolute", -0.3, 0.0004)),
        Selection(Located(), tuple(table["name"][[0, 3, 11]])),
        Selection(Located(), ()),
    ):
        text = selection.write(chosen, table)
        assert selection.read(text, table, own) == chosen
        assert len(text) < 60


@pytest.mark.parametrize(
    "text", ["hand:!!", "hand:AAAAAAAAAAAA", "quantile:2:0", "quantile:nan:0.5", "absolute:1", "else:1:2", "absolute:a:b"]
)
def test_an_address_that_makes_no_sense_shows_the_runs_own(text: str) -> None:
    own = Selection(Located("quantile", 0.1, 0.2))
    assert selection.read(text, table_of(), own) == own


def test_a_cell_without_gradient_cannot_be_selected_by_address() -> None:
    table = table_of()
    text = selection.write(Selection(Located(), tuple(table["name"][:2])), table)
    table.loc[0, "has_gradient"] = False
    assert selection.read(text, table, Selection(Located())).hand == (table["name"][1],)


def test_the_address_opens_the_same_selection(open_page: Open) -> None:
    app = open_page("", "", region="quantile:0.3:0.6")
    assert (control(app, "slider", "mu").value, control(app, "slider", "sigma").value) == (0.3, 0.6)
    assert count(app) == len(Located("quantile", 0.3, 0.6).select(bundled()))
    hand = tuple(bundled()["name"][[5, 17]])
    app = open_page("", "", region=selection.write(Selection(Located(), hand), bundled()))
    assert count(app) == 2
    assert control(app, "segmented_control", "by").value == "hand"
    assert not control(app, "toggle", "editing").value


def test_the_number_field_and_the_slider_are_one_value(open_page: Open) -> None:
    app = open_page("", located().id)
    control(app, "number_input", "mu_number").set_value(0.31).run()
    assert control(app, "slider", "mu").value == 0.31
    assert app.query_params["region"] == "quantile:0.31:0.5"
    control(app, "slider", "mu").set_value(0.5).run()
    assert control(app, "number_input", "mu_number").value == 0.5
    assert not app.query_params.get("region")


def test_a_dragged_line_arrives_in_the_unit_of_the_controls() -> None:
    table = bundled()
    rule = Located("absolute", 0.4, 1e-3)
    rule_in_quantiles = selection.converted(rule, "quantile", table)
    assert abs(len(rule_in_quantiles.select(table)) - len(rule.select(table))) <= 2


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch, make_run: MakeRun) -> list[RunConfig]:
    """Return the list into which the settings of every run go that is started."""
    made, asked = make_run("new"), list[RunConfig]()
    monkeypatch.setattr(lifecycle, "submit", lambda config, *_: asked.append(config) or made)
    return asked


def unlearn_with_it(app: AppTest, submitted: list[RunConfig]) -> RunConfig:
    """Press “Unlearn with this region”, which starts nothing, then Start in the form; return what was started."""
    next(b for b in app.button if b.label == "Unlearn with this region").click().run()
    assert not submitted
    assert not app.exception
    next(b for b in app.button if b.label == "Start").click().run()
    assert not app.exception
    (config,) = submitted
    return config


def test_by_hand_starts_from_the_thresholds_and_takes_whole_layers(open_page: Open, submitted: list[RunConfig]) -> None:
    app = open_page("", located().id)
    before = count(app)
    control(app, "toggle", "editing").set_value(True).run()
    assert count(app) == before
    next(b for b in app.button if b.label == "Clear").click().run()
    assert count(app) == 0
    assert control(app, "segmented_control", "by").value == "hand"
    app.selectbox(key="hand_layer").select(4).run()
    app.button(key="hand_layer_go").click().run()
    layer = bundled(located()).query("layer == 4")["name"].tolist()
    assert count(app) == len(layer)
    app.button(key="hand_layer_go").click().run()
    assert count(app) == 0
    app.button(key="hand_layer_go").click().run()
    assert unlearn_with_it(app, submitted).region == Cells(tuple(layer))


def test_one_cell_can_be_taken_out(open_page: Open) -> None:
    app = open_page()
    before = count(app)
    assert not [b for b in app.button if b.label == "Take it out"]
    control(app, "toggle", "editing").set_value(True).run()
    next(b for b in app.button if b.label == "Take it out").click().run()
    assert count(app) == before - 2  # the module with its two factors, as the map shows it
    next(b for b in app.button if b.label == "Put it in").click().run()
    assert count(app) == before
    app.selectbox(key="factor").select("A").run()
    next(b for b in app.button if b.label == "Take it out").click().run()
    assert count(app) == before - 1
    app.selectbox(key="factor").select("both").run()
    assert "only B in the region" in text_of(app)
    control(app, "toggle", "factors").set_value(True).run()
    assert app.selectbox(key="factor").value in ("A", "B")
    assert not app.exception


def test_a_module_counts_its_two_factors_as_one(open_page: Open) -> None:
    app = open_page()
    table = bundled()
    layer, module = app.selectbox(key="layer").value, app.selectbox(key="module").value
    parts = table[(table["layer"] == layer) & (table["module"] == module)]
    elements = int((parts["rows"] * parts["columns"]).sum())
    assert f"= {elements:,} parameters" in text_of(app)
    cosine = next(metric.value for metric in app.metric if metric.label == "Shared")
    products = parts["norm_unlearn"] * parts["norm_retain"]
    norms = [float((parts[name] ** 2).sum() ** 0.5) for name in ("norm_unlearn", "norm_retain")]
    assert cosine == f"{float((parts['cos'] * products).sum()) / (norms[0] * norms[1]):.3f}"


def test_edits_are_undone_one_after_the_other(open_page: Open) -> None:
    app = open_page("", located().id)
    own, text = count(app), app.query_params.get("region")
    assert not [b for b in app.button if b.key == "undo"]
    control(app, "toggle", "editing").set_value(True).run()
    app.selectbox(key="hand_layer").select(4).run()
    app.button(key="hand_layer_go").click().run()
    more = count(app)
    assert more > own
    next(b for b in app.button if b.label == "Clear").click().run()
    assert "Last: all taken out · layer 4 put in" in text_of(app)
    app.button(key="undo").click().run()
    assert count(app) == more
    app.button(key="undo").click().run()
    assert (count(app), app.query_params.get("region")) == (own, text)
    assert control(app, "segmented_control", "by").value == "thresholds"
    assert not [b for b in app.button if b.key == "undo"]


def test_another_run_is_looked_at_and_not_edited(open_page: Open) -> None:
    app = open_page("", located().id)
    control(app, "toggle", "editing").set_value(True).run()
    next(b for b in app.button if b.label == "Clear").click().run()
    other = next(run for run in store.bundled_runs() if type(run.config().region) is not Located)
    app.selectbox(key="picked").set_value(other.id).run()
    assert not control(app, "toggle", "editing").value
    assert not [b for b in app.button if b.key == "undo"]


def test_what_a_run_without_thresholds_was_made_with_comes_back(open_page: Open) -> None:
    run = next(run for run in store.bundled_runs() if type(run.config().region) is not Located)
    app = open_page("", run.id)
    own = count(app)
    assert f"Listed: {words(run.config().region)}" in text_of(app)
    control(app, "toggle", "editing").set_value(True).run()
    next(b for b in app.button if b.label == "Clear").click().run()
    next(b for b in app.button if b.label == "Back to this run's own").click().run()
    assert count(app) == own
    app.button(key="undo").click().run()
    assert count(app) == 0


def test_regions_are_saved_with_a_name_used_and_deleted_with_undo(open_page: Open) -> None:
    run = store.bundled_runs()[0]
    app = open_page("", run.id, region="quantile:0.2:0.5")
    few = count(app)
    app.text_input(key="region_name").set_value("<b>narrow").run()
    app.button(key="region_save").click().run()
    assert len(saved_regions.load(run)["<b>narrow"]) == few
    app = open_page("", run.id)
    assert count(app) != few
    app.button(key="use_0").click().run()
    assert count(app) == few
    app.button(key="drop_0").click().run()
    assert saved_regions.load(run) == {}
    next(b for b in app.button if b.label == "Undo" and b.key != "undo").click().run()
    assert list(saved_regions.load(run)) == ["<b>narrow"]


def test_saved_regions_refuse_what_cannot_be_kept(make_run: MakeRun) -> None:
    run = make_run("mine")
    with pytest.raises(UserError, match="needs a name"):
        saved_regions.save(run, "  ", ["a"])
    with pytest.raises(UserError, match="is empty"):
        saved_regions.save(run, "x", [])
    saved_regions.save(run, "x", ["a"])
    saved_regions.file_path(run).write_text("{")
    assert saved_regions.load(run) == {}


def test_two_runs_are_compared_against_chance(open_page: Open, make_run: MakeRun) -> None:
    run = make_run("other")
    config = json.loads((run.path / "config.json").read_text()) | {"seed": 7}
    (run.path / "config.json").write_text(json.dumps(config))
    app = open_page("", store.bundled_runs()[0].id, other="other")
    assert not app.exception
    assert next(m for m in app.metric if m.label == "Jaccard").value == "1.00"
    said = text_of(app).replace("\\", "")
    assert "More than chance" in said
    own = store.bundled_runs()[0].config()
    assert f"What differs between the runs: seed {own.seed} here, 7 there." in said
    method = f"Method {own.unlearn.method.label}; data demo {own.data.subset}"
    for seed in (own.seed, 7):
        assert f"{method}; seed {seed}. Outlined: the last third of the layers." in said
    assert "Both are coloured by “Loss without it”, on one scale" in said
    assert int(app.dataframe[-1].value["Seed"].iloc[0]) == 7


def test_the_drill_down_says_what_unlearning_did_to_a_cell(open_page: Open, make_run: MakeRun) -> None:
    run = make_run("mine")
    table = bundled()
    changes = pd.DataFrame({"name": table["name"], "norm_before": 2.0, "norm_change": 0.5, "max_change": 0.1})
    changes.to_parquet(run.path / "changes.parquet")
    app = open_page("", "mine", measure="change")
    assert next(m for m in app.metric if m.label == "Change").value == "0.707"  # of both factors of the module
    assert next(m for m in app.metric if m.label == "Relative change").value == "25.0 %"
    app.selectbox(key="factor").select("B").run()
    assert next(m for m in app.metric if m.label == "Change").value == "0.5"
    assert next(m for m in app.metric if m.label == "Relative change").value == "25.0 %"


def test_a_visit_to_another_page_keeps_the_selection(open_page: Open) -> None:
    app = open_page("", located().id)
    control(app, "slider", "mu").set_value(0.3).run()
    few = count(app)
    app.switch_page(pages.RUNS.script).run()
    app.switch_page(pages.LOCALIZE.script).run()
    assert not app.exception
    assert count(app) == few


def test_the_way_back_from_another_page_keeps_the_selection_though_the_browser_drops_it_from_the_address(
    open_page: Open,
) -> None:
    app = open_page("", located().id)
    control(app, "slider", "mu").set_value(0.3).run()
    few = count(app)
    app.switch_page(pages.RUNS.script).run()
    del app.query_params["region"]
    app.switch_page(pages.LOCALIZE.script).run()
    assert count(app) == few
    assert "quantile:0.3:0.5" in app.query_params["region"]


def test_back_over_a_change_of_run_brings_the_region_of_the_address_back(open_page: Open, make_run: MakeRun) -> None:
    make_run("mine")
    app = open_page("", "mine", region="quantile:0.3:0.5")
    few = count(app)
    app.query_params["run"] = store.bundled_runs()[0].id  # the picker: the address still has the other run's words
    app.run()
    assert count(app) != few
    app.query_params["run"], app.query_params["region"] = "mine", "quantile:0.3:0.5"
    app.run()
    assert count(app) == few


def test_a_run_without_gradients_in_some_tensors_is_compared_on_those_that_both_could_choose(
    open_page: Open, make_run: MakeRun
) -> None:
    half = make_run("half")
    table = pd.read_parquet(half.path / "localization.parquet")
    dead = table["factor"] == "A"
    table.loc[dead, ["cos", "divergence"]] = float("nan")
    table.loc[dead, ["mag_unlearn", "mag_retain", "norm_unlearn", "norm_retain"]] = 0.0
    table["has_gradient"] = ~dead
    table.to_parquet(half.path / "localization.parquet")
    app = open_page("", store.bundled_runs()[0].id, other="half", region="quantile:1:0")
    assert not app.exception
    sizes = re.search(r"regions of (\d+) and (\d+) out of (\d+) tensors", text_of(app))
    assert sizes
    assert int(sizes[3]) == (~dead).sum()
    assert int(sizes[1]) <= (~dead).sum()


def test_picking_another_run_drops_what_the_address_said_of_the_first(open_page: Open, make_run: MakeRun) -> None:
    make_run("mine")
    app = open_page("", "mine", region="quantile:0.3:0.5", cell="model.layers.13.mlp.gate_proj.lora_B")
    other = store.bundled_runs()[0].id
    app.selectbox(key="picked").set_value(other).run()
    assert not app.exception
    assert {"region", "cell"}.isdisjoint(app.query_params)
    assert other in app.query_params["run"]


def test_back_to_before_a_cell_was_chosen_does_not_choose_it_again(open_page: Open) -> None:
    app = open_page("", store.bundled_runs()[0].id, cell="model.layers.13.mlp.gate_proj.lora_B")
    assert app.selectbox(key="layer").value == 13
    del app.query_params["cell"]
    app.run()
    assert "cell" not in app.query_params
    assert app.selectbox(key="layer").value != 13


def test_a_run_without_any_gradient_says_so(open_page: Open, make_run: MakeRun) -> None:
    run = make_run("flat")
    bundled().assign(has_gradient=False, cos=float("nan"), mag_unlearn=0.0).to_parquet(run.path / "localization.parquet")
    app = open_page("", "flat")
    assert not app.exception
    assert "nothing can be located" in app.warning[0].value


def test_the_number_field_s_echo_does_not_put_the_slider_back(open_page: Open) -> None:
    app = open_page("", located().id)
    control(app, "slider", "mu").set_value(0.3)
    control(app, "number_input", "mu_number").set_value(0.45)
    app.run()
    assert (control(app, "slider", "mu").value, control(app, "number_input", "mu_number").value) == (0.3, 0.3)


SAID = "how well each layer tells questions to be forgotten from those to be kept"


def test_a_run_that_measured_separability_shows_it_and_an_old_one_does_not(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("mine")
    (run.path / "separability.parquet").unlink(missing_ok=True)
    app = open_page("localize", "mine")
    assert not app.exception
    assert SAID not in text_of(app)
    auc = [0.5 + 0.5 * layer / 30 for layer in range(31)]
    pd.DataFrame({"layer": range(31), "auc": auc, "low": auc, "high": auc}).to_parquet(run.path / "separability.parquet")
    app = open_page("localize", "mine")
    assert not app.exception
    assert SAID in text_of(app)


def test_the_page_says_what_selected_the_outlined_cells(open_page: Open) -> None:
    assert "cosine below μ" in text_of(open_page("", located().id))
    run = next(run for run in store.bundled_runs() if type(run.config().region) is not Located)
    other = text_of(open_page("", run.id))
    assert (
        f"Outlined is the region: {words(run.config().region)}. The settings chose it, not this map. Unlearning here"
        in other
    )
    assert ("adds fresh weights to these" in other) == (run.config().unlearn.slots > 0)
    assert "cosine below μ" not in other
    hand = selection.write(Selection(Located(), tuple(bundled(run)["name"][:3])), bundled(run))
    picked = text_of(open_page("", run.id, region=hand))
    assert "Outlined are cells picked by hand. This run was made with another region: the last third" in picked
    assert "to these and no others" not in picked
    set_here = text_of(open_page("", located().id, region="quantile:0.1:0.5"))
    assert "Outlined is what these thresholds select" in set_here
    assert "This run was made with other thresholds." in set_here


@pytest.mark.parametrize("measure", MEASURES)
def test_heading_and_first_sentence_say_what_the_colours_are(open_page: Open, measure: str) -> None:
    shown, run = MEASURES[measure], store.bundled_runs()[0]
    app = open_page("", run.id, measure=shown.label)
    heading = in_words.OWN_REGION if measure == "region" else shown.heading
    assert heading in [element.value for element in app.subheader]
    assert f"Each cell is one module. {shown.colour} Outlined is the region" in text_of(app)
    app = open_page("", run.id, measure=shown.label, region="quantile:0.1:0.5")
    assert shown.heading in [element.value for element in app.subheader]


@pytest.mark.parametrize(("old", "factors"), [("true", False), ("false", True)])
def test_rows_are_modules_unless_factors_are_asked_for_and_old_links_mean_what_they_meant(
    open_page: Open, old: str, factors: bool
) -> None:
    app = open_page("", located().id)
    assert not app.toggle(key="factors").value
    region = bundled(located()).query("name in @tensors", local_dict={"tensors": located().json("region.json")["tensors"]})
    inside = region.groupby(["layer", "module"])["factor"].agg("".join)
    only = f"{(inside == 'A').sum()} only A and {(inside == 'B').sum()} only B is selected"
    assert f"Of the {len(inside)} outlined modules, {only}" in text_of(app)
    app.toggle(key="factors").set_value(True).run()
    assert "Each cell is one factor, A or B, of a module." in text_of(app)
    assert "outlined modules" not in text_of(app)
    app = open_page("", located().id, join=old)
    assert not app.exception
    assert app.toggle(key="factors").value == factors
    assert "join" not in app.query_params


def test_what_a_run_changed_outside_the_selected_cells_is_counted(open_page: Open, make_run: MakeRun) -> None:
    run = make_run("mine")
    table, mine = bundled(), set(run.json("region.json")["tensors"])
    changes = pd.DataFrame(
        {"name": table["name"], "norm_before": 2.0, "norm_change": table["name"].isin(mine).astype(float)}
    )
    changes.to_parquet(run.path / "changes.parquet")
    app = open_page("", "mine")
    app.segmented_control(key="measure").set_value("Change").run()
    assert "How far unlearning moved" in text_of(app)
    assert "This run also changed" not in text_of(app)
    app = open_page("", "mine", region="quantile:0.1:0.5")
    app.segmented_control(key="measure").set_value("Change").run()
    others = len(mine - set(Located("quantile", 0.1, 0.5).select(table)))
    assert f"This run also changed {others} tensors" in text_of(app)


def test_another_region_drops_the_step_that_somebody_picked_for_the_first(
    open_page: Open, make_run: MakeRun, submitted: list[RunConfig]
) -> None:
    run = make_run("mine")
    run.config().with_setting("unlearn.result_step", 4).with_setting("unlearn.picked_on", "val").save(
        run.path / "config.json"
    )
    pd.DataFrame({"name": bundled()["name"], "norm_before": 0.0, "norm_change": 0.5}).to_parquet(
        run.path / "changes.parquet"
    )
    app = open_page("", "mine", region="quantile:0.3:0.5")
    assert next(m for m in app.metric if m.label == "Relative change").value == "–"
    config = unlearn_with_it(app, submitted)
    assert (config.unlearn.result_step, config.unlearn.picked_on) == (0, "")


def test_thresholds_change_the_counts(open_page: Open) -> None:
    app = open_page("", located().id)
    before = count(app)
    control(app, "slider", "mu").set_value(0.2).run()
    fewer = count(app)
    assert fewer < before
    control(app, "slider", "sigma").set_value(0.1).run()
    assert count(app) > fewer
    assert control(app, "selectbox", "preset").value == "Set here"


def test_impossible_thresholds_disable_the_button(open_page: Open) -> None:
    app = open_page("", located().id)
    control(app, "slider", "mu").set_value(0.0).run()
    assert count(app) == 0
    button = next(b for b in app.button if b.label == "Unlearn with this region")
    assert button.disabled


def test_another_scale_keeps_the_region(open_page: Open) -> None:
    app = open_page("", located().id)
    before = count(app)
    control(app, "segmented_control", "mode").set_value("absolute").run()
    assert abs(count(app) - before) <= 3
    control(app, "selectbox", "preset").select("llama-2-7b privacy (paper)").run()
    assert control(app, "slider", "mu").value == 0.96
    control(app, "selectbox", "preset").select("This run's own").run()
    assert count(app) == before


def test_a_cell_is_chosen_by_name_and_by_address(open_page: Open) -> None:
    app = open_page("", "", cell="model.layers.3.self_attn.v_proj.lora_B")
    assert app.selectbox(key="layer").value == 3
    app.selectbox(key="layer").select(5).run()
    assert app.query_params["cell"] == "model.layers.5.self_attn.v_proj.lora_B"
    assert not app.exception


def test_unlearn_with_this_region_opens_the_form_with_the_same_settings_and_starts_nothing(
    open_page: Open, submitted: list[RunConfig]
) -> None:
    app = open_page("", located().id)
    control(app, "slider", "mu").set_value(0.3).run()
    next(b for b in app.button if b.label == "Unlearn with this region").click().run()
    assert not submitted
    assert "with the region that you chose on its map" in text_of(app)
    assert {name: app.query_params[name] for name in ("view", "again", "region")} == {
        "view": pages.NEW_RUN,
        "again": located().id,
        "region": "quantile:0.3:0.5",
    }
    next(b for b in app.button if b.label == "Start").click().run()
    own, (config,) = located().config(), submitted
    assert config.region == dataclasses.replace(own.region, mu=0.3)
    assert (config.teach, config.unlearn, config.seed) == (own.teach, own.unlearn, own.seed)
    assert app.query_params["run"] == "new"
    assert {"again", "region"}.isdisjoint(app.query_params)


def test_the_run_s_own_region_stays_the_rule_that_it_was(open_page: Open, submitted: list[RunConfig]) -> None:
    run = next(run for run in store.bundled_runs() if type(run.config().region) is not Located)
    assert unlearn_with_it(open_page("", run.id), submitted).region == run.config().region


def test_a_random_region_is_laid_over_the_map_as_the_controls_draw_it(open_page: Open) -> None:
    run = located()
    app = open_page("", run.id)
    assert "Dotted" not in text_of(app)
    app.number_input(key="random").set_value(2).run()
    assert not app.exception
    region, table = run.json("region.json")["tensors"], bundled(run)
    drawn = matched(table, region, 1)
    both = len(set(drawn) & set(region))
    assert f"Dotted: random region 2; {both} of its {len(drawn)} tensors are selected" in text_of(app).replace("\\", "")


def test_what_is_in_the_box_of_the_scatter_is_dotted_on_the_map(open_page: Open) -> None:
    app = open_page("", located().id)
    app.session_state["brushed"] = bundled()["name"].tolist()[:5]
    app.run()
    assert not app.exception
    assert "Dotted: the 5 tensors in your box." in text_of(app)
    next(b for b in app.button if b.label == "Add").click().run()
    assert "Dotted" not in text_of(app)
    assert "Last: the box put in" in text_of(app)


def test_a_random_region_like_nearly_all_tensors_is_refused_in_words(open_page: Open) -> None:
    app = open_page("", located().id, region="absolute:1:0").number_input(key="random").set_value(1).run()
    assert not app.exception
    assert "nearly every tensor" in app.error[0].value
