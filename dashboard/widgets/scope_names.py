"""What scopes and splits are called where questions are chosen. Pictures and small print: `charts.base.SCOPE_NAMES`; scores:
`scores_read.SPLITS`.
"""

SCOPES = {"unlearn": "✖ To forget", "retention": "● To keep"}
SPLITS = {"train": "Train", "dev": "Dev", "val": "New questions"}
