"""What every room needs and that knows nothing of language models: errors, paths, files, locks on access, logs, progress.

Uses the standard library, numpy, and libraries of its own only inside functions; no other room. Begin with `errors` (the one
kind of error that a user is meant to see), `files` (writing in one step) and `safe_read` (reading what may be damaged).
"""
