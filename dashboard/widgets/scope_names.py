"""What scopes and splits are called; scopes in pictures and small print: `charts.base.SCOPE_NAMES`."""

SCOPES = {"unlearn": "✖ To forget", "retention": "● To keep"}
SPLITS = {"train": "Train", "dev": "Dev", "val": "New questions"}
"""where questions are chosen"""
SCORE_SPLITS = {"val": "New questions (val)", "train": "Train", "dev": "Dev"}
"""where scores are chosen, those that say the most first"""
IN_WORDS = {"val": "new questions (val)", "train": "the train questions", "dev": "the held-out questions (dev)"}
"""splits within a sentence"""
