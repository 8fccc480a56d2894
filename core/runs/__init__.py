"""A run's folder: what lies in it, who may write there, how it is listed, kept, exported, mended and deleted.

May use models and below, and imports no torch. Readers are tolerant: a damaged file hurts neither the page nor another run.
Begin with `store` (a run and its files); then `scores` (what was measured), `overview` (a run as a row), `voices` (who
answers) and `manifest` (what a run was made of).
"""
