"""The page Compare (/compare): the same question before and after unlearning, and what lies behind the answers.

Uses widgets, charts and text; no other page. Begin with `page.py`; each of its tabs is a file (`token_probabilities.py`,
`strength.py`, `cells_put_back.py`, `many_questions.py`, `history.py`). An asked question with its answers is
`widgets/question_and_answers.py`.
"""
