"""Tests. Each room of core/ and dashboard/ has its folder here, and most files are named after the module that they test.

Beside the rooms
    e2e         journeys in a real browser: one server for all of them, a folder of runs for each file (e2e/conftest.py)
    hostile     inputs that want to do harm: archives, files of data and models, settings, texts, table cells
    bench       `make bench`: what this machine measures of itself; and measurements of the dashboard
    fixtures    runs as older versions wrote them

What tests share (each says in its first line what it offers)
    conftest    fixtures: tiny models by architecture, tiny data, a finished run, folders of one's own for each test
    tiny        how tiny models and data are made
    naive       a loaded tiny model, the plain way to compute losses and gradients, and what records a stage's reports
    processes   quick settings of a whole run, the command line called here or as a process, waiting for a run's end
    probing     a finished run made without training, for probes
    slow        a run that answers slowly
    hub         a hub of models on this machine whose network can go
    visitor     somebody who opens pages and asks without a browser

Commands, not tests: browser (is there a Chromium?), bundle, chaos, crowd, screenshots, moving_picture; see the Makefile.

A test that needs a finished run takes `unlearned_run` (one for the whole session, copied by whoever changes it) or makes one
in its own process (tests/pipeline/test_pipeline.py, `execute`). One that is about processes starts them with core.jobs: they
are forked from one that has torch in memory, which each process of tests starts once; another environment (other variables
than FORGETSCOPE_…) costs a new one.
"""
