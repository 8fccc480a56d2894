"""Navigation, and nothing else: which pages there are."""

from __future__ import annotations

import streamlit as st

from core.util import logs
from core.util.paths import ROOT
from dashboard import pages
from dashboard.runs import trash
from dashboard.server import sign_in
from dashboard.widgets import theme, tour

st.set_page_config(page_title="Forgetscope", page_icon=str(ROOT / "assets" / "icon.svg"), layout="wide")
st.logo(str(ROOT / "assets" / "logo.svg"), size="large")

logs.name(str(st.query_params.get("run", "")))
sign_in.check()

views = {
    menu: [
        st.Page(page.script, title=page.title, icon=page.icon, url_path=page.address, default=page is pages.LOCALIZE)
        for page in of_menu
    ]
    for menu, of_menu in (("", pages.ALL), ("Help", pages.HELP))
}
shown = st.navigation(views, position="top")
trash.leave(shown.url_path)
tour.show()
shown.run()
theme.watch()
