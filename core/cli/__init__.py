"""The command line, `python -m core COMMAND`: what people type, and what scripts read from stdout.

`main` holds the table of verbs: one line of help and the functions that take the options and do it, named as text, since
a verb's module is imported when that verb is given. `terminal` has what verbs share (options, tables, results),
`progress_bar` and `sweep_table` follow work until it has ended, `waiting` says what it waits for. Verbs that need a
model start a job (core/jobs) or ask the answering process (core/serve) and wait: none loads a model itself.

It may use every room of core; nothing in core uses it. Begin reading in `main`.
"""
