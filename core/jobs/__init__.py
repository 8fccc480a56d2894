"""Work that processes do: runs, sweeps, references, leak probes, estimates, and whatever else loads a model to compute.

One table, core.runs.layout.KINDS, names each kind of job and the function that does it. `lifecycle` starts, follows,
cancels and resumes jobs; `__main__` is the process that does one, `worker` its turn at the device (`queue`) and what it
reports (`status_log`). What it then does stands in `job_functions`, `launch` (several processes for one run) and the modules
*_work and *_runs, the only ones here that import torch, by name and when it is their turn. `reference`,
`probes`, `estimate` and `lm_eval_harness` are what pages and the command line ask of such a job. Of sweeps: `sweep` is the
folder, `sweep_worker` and `sweep_runs` the work, `tuning`, `controls` and `unlearning_series` three ways to make one,
`sweep_scores` and `sweep_estimate` what comes out and how long it takes. `ray_*` hand runs to a cluster.

It may use every room but report and cli. Begin reading in core/runs/layout.py, then `lifecycle`, then `worker`.
"""
