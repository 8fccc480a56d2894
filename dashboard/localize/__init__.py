"""The page Localize (/): where the model keeps what it must forget, and which part of that unlearning may change.

Uses widgets, charts and text; no other page. Begin with `page.py`, which shows all parts from top to bottom; what is
selected is kept in `selection_state.py`, and the picture that is dragged is `heatmap_explorer.py` with its script.
"""
