"""The pages Run (/run), Runs (/runs) and Admin (/admin): start runs, watch them, keep them, end them.

Uses core.jobs, which does them, widgets, charts and text; no other page. Begin with `new_run_page.py` (the form is
`form_*.py`, a run at work `progress.py`) or with `runs_page.py` (`runs_table.py`, `chosen_runs.py`).
"""
