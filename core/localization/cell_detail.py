"""What is inside a cell: how its gradient lies over rows, columns, attention heads and sizes of elements.

A LoRA factor touches the model's own dimensions on one side only: B's rows are outputs of its layer, A's columns are
inputs. So heads are rows of B for the projections that make queries, keys and values, and columns of A for the one
that takes the heads' results together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from core.models.adapters import Cell

BINS = 41
"""bins of the histograms of element gradients; symmetric around 0"""

OUTPUTS = ("o_proj", "out_proj", "dense", "c_proj")
"""names of the layer after attention, which takes the heads side by side"""


def details(cells: Sequence[Cell], gradients: dict[str, dict[str, torch.Tensor]], config: Any) -> dict[str, np.ndarray]:
    """Return, flat in cell order, what is inside a cell. `config` is the model's, which knows its heads.

    rows_SCOPE, columns_SCOPE, heads_SCOPE: root mean square per row, column and head, cut apart by row_offsets,
    column_offsets and head_offsets (length cells + 1; a cell without heads has none); head_labels: each head's name.
    histogram_SCOPE (cells, BINS): counts of elements between −range and +range; range (cells,).
    """
    arrays: dict[str, list[np.ndarray]] = {}
    limits = []
    labels = [head_labels(cell, config) for cell in cells]
    for cell, names in zip(cells, labels, strict=True):
        limit = max(float(gradients[scope][cell.name].abs().max()) for scope in gradients)
        limits.append(limit)
        for scope, tensors in gradients.items():
            g = tensors[cell.name].float()
            squares = {"rows": g.pow(2).mean(1), "columns": g.pow(2).mean(0)}
            side = squares["rows" if cell.factor == "B" else "columns"]
            squares["heads"] = side.reshape(len(names), -1).mean(1) if names else side[:0]
            for kind, values in squares.items():
                arrays.setdefault(f"{kind}_{scope}", []).append(values.sqrt().cpu().numpy())
            counts = torch.histc(g.flatten(), BINS, -limit, limit) if limit > 0 else torch.zeros(BINS)
            arrays.setdefault(f"histogram_{scope}", []).append(counts.cpu().numpy().astype(np.int32)[None])
    flat = {name: np.concatenate(parts) for name, parts in arrays.items()}
    for axis, index in (("row", 0), ("column", 1)):
        flat[f"{axis}_offsets"] = np.cumsum([0, *(cell.shape[index] for cell in cells)])
    flat["head_offsets"] = np.cumsum([0, *(len(names) for names in labels)])
    flat["head_labels"] = np.array([name for names in labels for name in names], dtype=np.str_)
    return {**flat, "range": np.array(limits)}


def head_labels(cell: Cell, config: Any) -> list[str]:
    """Name the heads into which a cell's rows (factor B) or columns (factor A) fall, in order; often none.

    A projection of its own gives "0", "1", …; one that makes queries, keys and values together gives "q0", "k0", ….
    Empty as well where the layout is not known, or where its size is not that of whole heads.
    """
    config = config.get_text_config()
    parent, _, leaf = cell.module.rpartition(".")
    if "attn" not in parent and "attention" not in parent:
        return []
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    if cell.factor == "A":
        labels = _numbered("", heads) if leaf in OUTPUTS else []
        return labels if len(labels) * size == cell.shape[1] else []
    groups = getattr(config, "num_key_value_heads", None) or heads
    plain = {"q_proj": heads, "k_proj": groups, "v_proj": groups}
    if leaf in plain:
        labels = _numbered("", plain[leaf])
    else:
        layout = FUSED.get((config.model_type, leaf))
        labels = layout(config, heads, groups) if layout else []
    return labels if len(labels) * size == cell.shape[0] else []


def _numbered(kind: str, count: int) -> list[str]:
    return [f"{kind}{i}" for i in range(count)]


def _one_after_the_other(_: Any, heads: int, groups: int) -> list[str]:
    return [*_numbered("q", heads), *_numbered("k", groups), *_numbered("v", groups)]


def _head_by_head(_: Any, heads: int, __: int) -> list[str]:
    return [f"{kind}{i}" for i in range(heads) for kind in "qkv"]


def _falcon(config: Any, heads: int, _: int) -> list[str]:
    if config.new_decoder_architecture:  # groups of query heads, each followed by its key and its value
        groups = config.num_kv_heads
        each = heads // groups
        return [name for g in range(groups) for name in (*(f"q{g * each + i}" for i in range(each)), f"k{g}", f"v{g}")]
    if config.multi_query:  # all query heads, then the one key and the one value
        return [*_numbered("q", heads), "k0", "v0"]
    return _head_by_head(config, heads, heads)


FUSED: dict[tuple[str, str], Callable[[Any, int, int], list[str]]] = {
    # transformers' modeling files: Phi3Attention and GPT2Attention split their output into all queries, all keys, all
    # values; GPTNeoXAttention and BloomAttention view it as heads × (query, key, value); Falcon has three layouts.
    ("phi3", "qkv_proj"): _one_after_the_other,
    ("gpt2", "c_attn"): _one_after_the_other,
    ("gpt_neox", "query_key_value"): _head_by_head,
    ("bloom", "query_key_value"): _head_by_head,
    ("falcon", "query_key_value"): _falcon,
}
"""(model type, layer) -> what lies where in the output of a layer that makes queries, keys and values together"""
