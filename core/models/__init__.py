"""Language models: finding and loading one, adapters on it, tokens, generation, and how likely it finds an answer.

May use data and below. The room where torch, transformers and peft belong; files that pages read (`cells`, `names`,
`adapter_files`, `plain_tensors`, `weight_files`) import none of them. Begin with `loading` and `adapters`: before and after
are two adapters on one base.
"""
