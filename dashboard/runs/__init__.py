"""The page Runs (/runs): start runs, watch them, keep them, end them, and what they take of disk and memory.

Uses widgets, charts and text; no other page. Begin with `page.py`: each of its views is a file.
"""
