"""Navigation, and nothing else: which pages there are."""

from __future__ import annotations

import streamlit as st

from core.util import logs
from core.util.paths import ROOT
from dashboard.runs import trash
from dashboard.server import sign_in
from dashboard.widgets import theme

st.set_page_config(page_title="Forgetscope", page_icon=str(ROOT / "assets" / "icon.svg"), layout="wide")
st.logo(str(ROOT / "assets" / "logo.svg"), size="large")

logs.name(str(st.query_params.get("run", "")))
sign_in.check()

views = [
    st.Page("localize/page.py", title="Localize", icon=":material/grid_on:", url_path="localize", default=True),
    st.Page("compare/page.py", title="Compare", icon=":material/compare:", url_path="compare"),
    st.Page("evidence/probe_page.py", title="Probe", icon=":material/fact_check:", url_path="probe"),
    st.Page("evidence/scores_page.py", title="Scores", icon=":material/scoreboard:", url_path="scores"),
    st.Page("report/page.py", title="Report", icon=":material/description:", url_path="report"),
    st.Page("runs/new_run_page.py", title="Run", icon=":material/play_circle:", url_path="run"),
    st.Page("runs/runs_page.py", title="Runs", icon=":material/table_rows:", url_path="runs"),
    st.Page("help/page.py", title="Documents", icon=":material/menu_book:", url_path="documents"),
]
if sign_in.admin():
    views.append(st.Page("runs/admin_page.py", title="Admin", icon=":material/shield_person:", url_path="admin"))
page = st.navigation(views, position="top")
trash.leave(page.url_path)
page.run()
theme.watch()
