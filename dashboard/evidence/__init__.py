"""The page Evidence (/evidence): what is gone and what is left, example by example and in numbers.

Uses widgets, charts and text; no other page. Begin with `page.py`: each of its parts is a file, and only the open one is
computed.
"""
