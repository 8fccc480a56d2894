"""The page Report (/report): six slides for those who do not work on it, and files to take along.

Uses core.report, which makes them, widgets and text; no other page. Begin with `page.py`.
"""
