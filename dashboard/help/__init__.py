"""The page Documents (/documents): what the project says about itself.

Uses widgets and text; no other page. Begin with `page.py`; how a file is shown is in `widgets/documents.py`.
"""
