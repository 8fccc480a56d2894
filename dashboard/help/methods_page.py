"""Methods and regions: what each does, its formula, its settings and where it is from."""

from __future__ import annotations

import streamlit as st

from dashboard.widgets import method_list

st.title("Methods and regions")
method_list.show()
