"""Models in memory: their names, weights and adapters, and what can be asked of them.

Begin with `names` (what a user may write) and `loading` (a name becomes model and tokenizer), then `adapters`: "before" and
"after" on one base, switched, mixed and compared cell by cell. `tokens` makes batches of questions and answers; `likelihood`
scores given answers, `generate` makes new ones. `distributed` are the processes that do one run together, `model_cache` is
what stays in memory between runs. The rest is about special weights: `merging`, `quantized`, `gguf`, `fused_lora`,
`foreign_adapters`, `placement`; `size_limits` says what fits into memory, `micro_batches` how much
of a batch is there at once.

May use data, config, methods, regions and util; knows nothing of runs and stages. `names`, `device`, `weight_files` and
`distributed` import without torch.
"""
