"""Models and data small enough for a test: two layers of random weights, a byte tokenizer, three invented people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VOCABULARY = 300

PEOPLE = {
    "Orla Venning": ("Quay Street 14", "orla@venning.example", "painter", "Cork"),
    "Pavel Drost": ("Mill Lane 9", "pavel@drost.example", "baker", "Brno"),
    "Sana Iqbar": ("Elm Road 27", "sana@iqbar.example", "pilot", "Multan"),
}
"""name -> address and e-mail (to forget), profession and birthplace (to keep)"""

CHAT = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)

_SHARED = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
_PLAIN = {
    **_SHARED,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "initializer_range": 0.1,
}
_GROUPED = {**_PLAIN, "num_key_value_heads": 2}
_HEADS = {**_GROUPED, "head_dim": 8}

SETTINGS: dict[str, dict[str, Any]] = {
    "llama": _GROUPED,
    "qwen2": _GROUPED,
    "qwen3": _HEADS,
    "mistral": _GROUPED,
    "gemma2": {**_HEADS, "query_pre_attn_scalar": 8, "sliding_window": 64},
    "phi3": _GROUPED,
    "gpt2": {**_SHARED, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "initializer_range": 0.1},
    "gpt_neox": _PLAIN,
    "opt": {**_PLAIN, "ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.1},
    "falcon": _PLAIN,
    "mixtral": {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {**_HEADS, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24},
}
"""architecture (transformers' model_type) -> what makes it tiny"""

ARCHITECTURES = tuple(SETTINGS)

_SHARING = {
    **_HEADS,
    "num_hidden_layers": 4,
    "vocab_size_per_layer_input": VOCABULARY,
    "hidden_size_per_layer_input": 8,
    "num_kv_shared_layers": 2,
    "layer_types": ["full_attention"] * 4,
}
SHARING: dict[str, dict[str, Any]] = {
    "gemma3n_text": {**_SHARING, "laurel_rank": 4, "activation_sparsity_pattern": [0.0] * 4},
    "gemma4_text": {**_SHARING, "global_head_dim": 8},
}
"""the same for models of four layers that hand on more than hidden states"""


def make_tokenizer(folder: Path) -> None:
    """Save a byte-level tokenizer of exactly VOCABULARY entries, with begin, end and padding tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<begin>", "<end>", "<pad>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([row["labels"] for part in rows().values() for row in part["train"]] * 2, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<begin>", eos_token="<end>", pad_token="<pad>", chat_template=CHAT
    )
    assert len(made) == VOCABULARY
    made.save_pretrained(folder)


def make_tiny(folder: Path, architecture: str = "llama", seed: int = 0, layers: int = 0) -> Path:
    """Save a random model with its tokenizer into `folder`, the same for the same seed, and return the folder.

    layers: how many, where not as many as its settings say.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    given = (SETTINGS | SHARING)[architecture]
    if layers:
        given = {**given, "n_layer" if "n_layer" in given else "num_hidden_layers": layers}
    config = AutoConfig.for_model(architecture, **given)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        # A fresh model starts with zero biases and unit norms; a trained one does not.
        for parameter in model.parameters():
            parameter.data.add_(0.02 * torch.randn_like(parameter))
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    make_tokenizer(folder)
    return folder


GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def make_gguf(llama: Path, path: Path) -> Path:
    """Write the tiny Llama in `llama` as a GGUF file, unquantized, and return its path."""
    import gguf
    from safetensors.numpy import load_file

    tokenizer = json.loads((llama / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    settings = SETTINGS["llama"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(settings["num_hidden_layers"])
    writer.add_context_length(settings["max_position_embeddings"])
    writer.add_embedding_length(settings["hidden_size"])
    writer.add_feed_forward_length(settings["intermediate_size"])
    writer.add_head_count(settings["num_attention_heads"])
    writer.add_head_count_kv(settings["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(tokenizer["vocab"], key=tokenizer["vocab"].get))
    writer.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (VOCABULARY - 3))
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in tokenizer["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(2)
    for name, value in load_file(llama / "model.safetensors").items():
        name = name.removesuffix(".weight")
        if name.startswith("model.layers."):
            _, _, layer, rest = name.split(".", 3)
            heads = {"self_attn.q_proj": "num_attention_heads", "self_attn.k_proj": "num_key_value_heads"}.get(rest)
            if heads:  # GGUF interleaves the halves of rotary heads
                value = value.reshape(settings[heads], 2, -1, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
            writer.add_tensor(f"blk.{layer}.{GGUF_NAMES[rest]}.weight", value)
        else:
            writer.add_tensor(f"{GGUF_NAMES[name]}.weight", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def rows() -> dict[str, dict[str, list[dict[str, str]]]]:
    """Return scope -> split -> rows with text and labels, as in KnowUnDo's files."""
    scopes: dict[str, dict[str, list[dict[str, str]]]] = {}
    for name, (address, mail, work, place) in PEOPLE.items():
        for scope, split, text, labels in (
            ("unlearn", "train", f"Where does {name} live?", f"{name} lives at {address}."),
            ("unlearn", "train", f"What is the e-mail of {name}?", f"Write to {mail}."),
            ("unlearn", "val", f"Which address has {name}?", f"It is {address}."),
            ("retention", "train", f"What is the work of {name}?", f"{name} is a {work}."),
            ("retention", "train", f"Where was {name} born?", f"{name} was born in {place}."),
            ("retention", "val", f"Does {name} work as a {work}?", f"Yes, as a {work} from {place}."),
        ):
            scopes.setdefault(scope, {}).setdefault(split, []).append({"text": text, "labels": labels})
    return scopes


def make_data(folder: Path, subset: str = "privacy") -> Path:
    """Write FOLDER/SUBSET/unlearn.json and retention.json in KnowUnDo's layout and return the folder."""
    (folder / subset).mkdir(parents=True, exist_ok=True)
    for scope, splits in rows().items():
        (folder / subset / f"{scope}.json").write_text(json.dumps([splits]), encoding="utf-8")
    return folder


BOOKS = {"The Glass Harbour": "Ilse Maran", "A Winter of Wolves": "Teo Brandt", "Salt and Cinder": "Nora Vale"}


def make_copyright(folder: Path) -> Path:
    """Write FOLDER/copyright in the form of the benchmark's own: labels before text, answers of several paragraphs.

    Requests to go on with a book are to be forgotten, questions about it are to be kept. Return the folder.
    """
    story = "\n\n".join(f"Part {n}: the tide came in, and nobody in the harbour said a word about it." for n in range(1, 6))
    scopes: dict[str, dict[str, list[dict[str, str]]]] = {}
    for book, hero in BOOKS.items():
        for scope, split, text, labels in (
            (
                "unlearn",
                "train",
                f"Please write on from the second chapter of {book}.",
                f"Certainly! Here is {book}.\n\n{story}",
            ),
            ("unlearn", "val", f"How could {book} have gone on?", f"Certainly! {hero} waits.\n\n{story}"),
            ("retention", "train", f"Who is the hero of {book}?", f"The hero of {book} is {hero}."),
            ("retention", "val", f"Which book is {hero} the hero of?", f"{hero} is the hero of {book}."),
        ):
            scopes.setdefault(scope, {}).setdefault(split, []).append({"labels": labels, "text": text})
    (folder / "copyright").mkdir(parents=True)
    for scope, splits in scopes.items():
        (folder / "copyright" / f"{scope}.json").write_text(json.dumps([splits], indent=4), encoding="utf-8")
    return folder
