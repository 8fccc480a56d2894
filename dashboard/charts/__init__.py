"""Figures as plain values for plotly, made of tables and palettes; nothing here knows Streamlit.

Uses text; no widget and no page. Begin with `base.py` and `palette.py`; each figure is a file. Python names what is drawn,
the scripts of `dashboard/browser` draw it.
"""
