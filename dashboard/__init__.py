"""Forgetscope in the browser: a Streamlit app over the engine (core/), which knows nothing of it.

Each page is a room with the script that draws it; `pages.py` lists them with their addresses, `__main__.py` serves them. A
room uses what lies below and no other room: text < charts < server < widgets < pages (checked by `lint-imports`).
"""
