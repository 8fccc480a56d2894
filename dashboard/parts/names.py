"""What scopes and splits are called wherever one is chosen; pictures and small print call the scopes by `charts.base.SCOPE_NAMES`."""

SCOPES = {"unlearn": "✖ To forget", "retention": "● To keep"}
SPLITS = {"train": "Train", "dev": "Dev", "val": "New questions"}
