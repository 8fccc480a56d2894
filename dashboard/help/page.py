"""Documents: what the project found, how it is operated, what changed."""

from __future__ import annotations

import streamlit as st

from dashboard.help import documents
from dashboard.widgets import glossary


def page() -> None:
    """Show the page."""
    files = documents.files()
    st.title("Documents")
    if not files:
        st.info("This installation has no documents: the folder assets is incomplete.")
        return
    title = st.selectbox("Document", list(files), key="document", bind="query-params", label_visibility="collapsed")
    term = str(st.query_params.get(glossary.PARAMETER, ""))
    if title == glossary.DOCUMENT and (meaning := glossary.meanings().get(term)):
        st.info(f"**{term}**: {documents.harmless(meaning)}", icon=":material/menu_book:")
    documents.show(files[title])


page()
