"""What a map of the cells can be coloured by, in words: one table for the page, the report and the tour. Plain words first,
symbols second. No torch.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One way to colour the cells."""

    label: str
    column: str
    """of the localization table, or of changes.parquet; empty for what is computed from a region"""
    heading: str
    """what a map in these colours shows"""
    colour: str
    """what a strong colour means, in a sentence"""
    help: str
    formula: str
    """where its numbers are from"""


MEASURES = {
    "held": Measure(
        "Loss without it",
        "score_removal",
        "What the facts to be forgotten should lose without each module",
        "The stronger the colour, the more facts to be forgotten should lose without it than those to be kept: an estimate.",
        "How much more the facts to be forgotten should lose than those to be kept if what was learnt in this module were "
        "taken away. Both factors of a module share it.",
        "⟨M_U − M_R, ΔW⟩ of the module, M the gradient of the margin of a scope's fact tokens",
    ),
    "cosine": Measure(
        "Shared with what is kept",
        "cos",
        "How much of the pull to forget is shared with what is kept",
        "The stronger the colour, the less is shared: a change here should move one more than the other.",
        "How much of the pull to forget is a pull at what is kept too. Faint: a change here should move both. Strong: "
        "one more than the other. (Cosine of both gradients, from −1 to 1.)",
        "cos = ⟨G_U, G_R⟩ / (|G_U| |G_R|), G the mean gradient of a scope towards random answers (paper, section 3.3)",
    ),
    "forget": Measure(
        "Pull to forget",
        "mag_unlearn",
        "Where the questions to be forgotten pull",
        "The stronger the colour, the harder the questions to be forgotten pull at the cell.",
        "How strongly the questions to be forgotten pull at this cell. (Mean |gradient|.)",
        "mean |G_U| over the cell's elements",
    ),
    "retain": Measure(
        "Pull to keep",
        "mag_retain",
        "Where the questions to be kept pull",
        "The stronger the colour, the harder the questions to be kept pull at the cell.",
        "How strongly the questions to be kept pull at this cell. (Mean |gradient|.)",
        "mean |G_R| over the cell's elements",
    ),
    "divergence": Measure(
        "Pull not shared",
        "divergence",
        "Where the pull to forget is strong and not shared",
        "The stronger the colour, the more pull to forget there is that what is kept does not share.",
        "High where the pull to forget is strong and not shared with what is kept. ((1 − cosine) × pull to forget.)",
        "(1 − cos) · mean |G_U|",
    ),
    "region": Measure(
        "Region",
        "",
        "Which weights are selected",
        "Coloured is what is selected, and nothing else.",
        "Which cells unlearning may change.",
        "the rule beside the picture, applied to the same statistics",
    ),
    "change": Measure(
        "Change",
        "norm_change",
        "Which weights were changed, and how far",
        "The stronger the colour, the further unlearning moved the cell. Without colour, it did not move.",
        "How far unlearning moved each cell: 0 outside the region that this run was made with. (‖Δθ‖, Frobenius norm of "
        "after − before.)",
        "Frobenius norm of after − before",
    ),
}
