"""Navigation, and nothing else: which pages there are."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from core import logs
from dashboard.parts import people, runs_trash, theme_watch

ROOT = Path(__file__).resolve().parent.parent

st.set_page_config(page_title="Forgetscope", page_icon=str(ROOT / "assets" / "icon.svg"), layout="wide")
st.logo(str(ROOT / "assets" / "logo.svg"), size="large")

logs.name(str(st.query_params.get("run", "")))
people.check()

views = [
    st.Page("views/localize.py", title="Localize", icon=":material/grid_on:", default=True),
    st.Page("views/compare.py", title="Compare", icon=":material/compare:"),
    st.Page("views/probe.py", title="Probe", icon=":material/fact_check:"),
    st.Page("views/scores.py", title="Scores", icon=":material/scoreboard:"),
    st.Page("views/report.py", title="Report", icon=":material/description:"),
    st.Page("views/run.py", title="Run", icon=":material/play_circle:"),
    st.Page("views/runs.py", title="Runs", icon=":material/table_rows:"),
    st.Page("views/documents.py", title="Documents", icon=":material/menu_book:"),
]
if people.admin():
    views.append(st.Page("views/admin.py", title="Admin", icon=":material/shield_person:"))
page = st.navigation(views, position="top")
runs_trash.leave(page.url_path)
page.run()
theme_watch.watch()
