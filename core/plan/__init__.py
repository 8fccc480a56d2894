"""What a run would need and how long it would take, before it is made; and whether it can be made at all.

`admission` refuses what would end a run before it has done anything. Two words, and each means one thing:

- A *plan* is worked out without measuring: `run_plan` (memory by part and stage, work in tokens, disk; its steps run
  without weights on the meta device, `dry_run` and `architectures`), and `model_memory`, which says at once and without
  torch how much memory a model takes and whether that is there. `python -m core plan` prints a plan.
- An *estimate* is what measurements say of a time: `measure` makes a few real steps of each stage (with the clocks and
  rates of `timing`) and scales them to the whole, in a process that core/jobs/estimate.py starts;
  core/jobs/sweep_estimate.py estimates a sweep from the seconds of earlier runs. The command line has it as `plan
  --measure`, the page as “Measure first”.

A *cost* is one line of an estimate: the seconds of one stage, from `low` to `high`. An interval of a score is no estimate
here: core.metrics.paired.Interval.

It may use the rooms up to pipeline. `admission` and `model_memory` import nothing heavy. Begin reading in `run_plan`.
"""
