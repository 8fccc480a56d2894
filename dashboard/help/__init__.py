"""The menu Help: what the project says about itself (/help), and what its methods and regions do (/methods).

Uses widgets and text; no other page. Begin with `page.py`; how a file is shown is in `documents.py`.
"""
