"""Scores of modules: which of the updates ΔW that an adapter applies hold what is to be forgotten, and not what is kept.

A module's update is ΔW = s·B·A. Everything here is about ΔW itself: another pair of factors with the same product gets the
same scores. `scores` is the table of them, computed from what `recorder` adds up during one pass of gradients, `margin`
the loss that it takes of fact tokens (`facts`). What scores are held against: `ablation` tries out what is lost without
each module, `planted` puts facts into modules of its own choice and asks which score finds them again. Beside them stand
`cell_detail`, how a gradient lies within one factor, and `separability`, at which depth the two scopes can be told apart.

May use metrics, models and below; knows nothing of a run's stages. `scores` and `facts` import without torch. Begin with
`scores`: a new one is a function and a line in SCORES.
"""

from core.localization.scores import SCORES, Score, best, scored

__all__ = ["SCORES", "Score", "best", "scored"]
