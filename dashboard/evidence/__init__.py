"""The pages Probe (/probe) and Scores (/scores): what is gone and what is left, example by example and in numbers.

Uses widgets, charts and text; no other page. Begin with `probe_page.py` and `scores_page.py`; each tab is a file. Numbers
come from `core.runs.scores`, verdicts from `widgets/verdict_rows.py`.
"""
