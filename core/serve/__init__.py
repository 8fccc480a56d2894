"""The process that keeps one finished run's model warm and answers questions about it, and how others ask it.

`client` is what pages and the command line call: it starts the process where none runs, and documents the protocol.
`server` accepts clients and serves them one after the other, `service` holds the model and does each operation,
`messages` checks what is asked before any of it is believed, `voice_cache` makes the voices that are blends,
`two_models` asks audits of models that share no base, `completions` lets each prompt have a voice of its own,
`one_at_a_time` keeps each person to one question at a time.

`api` is the endpoint of `core serve`, for programs: it reads OpenAI's form (`api_requests`, `api_replies`) and asks through
`client` as pages do, what comes together as one batch (`batching`).

`client` and `messages` import nothing heavy. It may use the rooms up to plan and probes, not jobs: the device's queue is
not waited for here; who needs the memory asks this process to leave (`client.leave`). Begin reading in `client`.
"""
