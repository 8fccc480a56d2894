"""What several pages show: the current run, its scores and verdicts, asked questions, documents; and how all is shown.

Uses charts, server and text; no page. What only one page needs lies in that page's room. Begin with `current_run.py`, with
which every page begins, and `page_style.py`, which puts figures and messages on it.
"""
