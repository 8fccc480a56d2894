"""The page Compare (/compare): the same question before and after unlearning, and what lies behind the answers.

Uses widgets, charts and text; no other page. Begin with `page.py`; each of its tabs is a file (`tokens.py`, `strength.py`,
`what_holds_it.py`, `many_at_once.py`, `history.py`). An asked question with its answers is `widgets/exchange.py`.
"""
