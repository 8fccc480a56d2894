"""One run from data to scores: teach → preflight → localize → region → unlearn → answers → evaluate.

Begin with `pipeline`, the list of stages; `state` is what they work on, `stage` and `inputs` say what a stage is and what
its cached files depend on, `setup` refuses what is wrong with data or model. A stage's work lies in `model_before`,
`region`, `unlearn` and `evaluate`, its mathematics in `teach`, `localize`, `unlearn_loop` (with `supply`, what it trains on,
and `step_context`, what a method sees of a step) and `extras`. `retrained` adds a voice to a finished run, `audit_run`
measures two models made elsewhere, `finished_run` brings a run's model back into memory.

May use metrics, runs, models, data, config, methods, regions and util; knows nothing of plans, probes, the answering
process and jobs: whoever starts a run hands over how memory is made free. `preflight` and `audit` import without torch.
"""
