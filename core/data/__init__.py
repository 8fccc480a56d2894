"""The questions and answers of a run's two scopes: where they are from, what is in them, what is made of them.

May use config and below; no torch, no tokens. Begin with `corpus` (what the data is, once it is loaded) and `sources` (how
it is loaded); `facts`, `wrong_answers`, `refusals` and `widen` make what metrics and methods need besides.
"""
