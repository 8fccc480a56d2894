"""Data in, plotly figure out; no Streamlit here, so charts are tested as functions and re-used in reports."""
