"""Where cells stand, what they are called, and which of their tensors are selected."""

from __future__ import annotations

import pandas as pd

from core.models import cells


def table() -> pd.DataFrame:
    rows = [
        {
            "name": f"{layer}.{module}.{factor}",
            "layer": layer,
            "module": module,
            "factor": factor,
            "cos": 0.5,
            "divergence": 1.0,
            "rows": 2,
            "columns": 2,
            "has_gradient": True,
        }
        | dict.fromkeys(("mag_unlearn", "mag_retain", "norm_unlearn", "norm_retain"), 1.0)
        for layer in (0, 1)
        for module in ("q_proj", "v_proj")
        for factor in "AB"
    ]
    return pd.DataFrame(rows)


def test_a_joined_cell_knows_which_of_its_factors_are_selected_and_stands_for_both() -> None:
    single, both = table(), cells.joined(table())
    region = ["0.q_proj.A", "1.v_proj.A", "1.v_proj.B"]
    assert cells.selected(single, single, region).count(()) == 5
    assert cells.selected(both, single, region) == [("A",), (), (), ("A", "B")]
    stands = both["name"].iloc[0]
    assert cells.tensors_of(stands, both, single)["name"].tolist() == ["0.q_proj.A", "0.q_proj.B"]
    assert cells.tensors_of(stands, single, single)["name"].tolist() == [stands]


def test_a_router_is_called_by_its_own_name_not_by_that_of_its_tensor() -> None:
    assert cells.short("mlp.gate.weight") == "gate"
    assert cells.labels(["mlp.gate.weight", "self_attn.q_proj"]) == {"mlp.gate.weight": "gate", "self_attn.q_proj": "q_proj"}


def test_what_lies_in_no_layer_is_in_no_range_of_layers() -> None:
    assert cells.span(pd.Series([-1, 2, 5])) == "in layers 2 to 5"
    assert cells.span(pd.Series([-1])) == cells.at(-1) == "outside the layers"
    assert cells.layout(table().replace({"layer": {0: -1}})).ticks()["ticktext"] == ["–", "1"]
