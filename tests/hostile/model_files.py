"""Models: heads of GGUF files, whole GGUF files with one value changed, and what stands in a model's folder."""

from __future__ import annotations

import json
import struct
from typing import Any

from tests.hostile.archives import head, tensors
from tests.hostile.harness import TAKEN

U8, U32, F32, TEXT, LIST = 0, 4, 6, 8, 9
"""kinds of values"""


def text(value: bytes) -> bytes:
    """Return a text as GGUF has it."""
    return struct.pack("<Q", len(value)) + value


def value(name: bytes, kind: int, raw: bytes) -> bytes:
    """Return a named value."""
    return text(name) + struct.pack("<I", kind) + raw


def listed(kind: int, count: int, raw: bytes = b"") -> bytes:
    """Return a list that says it has so many items, and the bytes that are there."""
    return struct.pack("<IQ", kind, count) + raw


def tensor(name: bytes, *shape: int, kind: int = 0, offset: int = 0, dimensions: int | None = None) -> bytes:
    """Return what a head says of a tensor."""
    sizes = struct.pack(f"<{len(shape)}Q", *shape)
    return (
        text(name)
        + struct.pack("<I", len(shape) if dimensions is None else dimensions)
        + sizes
        + struct.pack("<IQ", kind, offset)
    )


def gguf(
    values: tuple[bytes, ...] = (), tensors: tuple[bytes, ...] = (), version: int = 3, counts: tuple[int, int] | None = None
) -> bytes:
    """Return a GGUF file; counts: of tensors and values, if it says others than there are."""
    many = counts or (len(tensors), len(values))
    return struct.pack("<4sIQQ", b"GGUF", version, *many) + b"".join(values) + b"".join(tensors) + bytes(4096)


def number(name: bytes, of: int) -> bytes:
    """Return a named whole number."""
    return value(name, U32, struct.pack("<I", of))


HEADS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "too early"),
    "a mark": (b"GGUF", "too early"),
    "another mark": (b"GGML" + bytes(60), "not a GGUF"),
    "a pickle": (b"\x80\x04cos\nsystem\n" + bytes(60), "not a GGUF"),
    "version 0": (gguf(version=0), "version"),
    "version 2^32 - 1": (gguf(version=2**32 - 1), "version"),
    "the other byte order": (gguf(version=3 << 24), "version"),
    "2^64 - 1 values": (gguf(counts=(0, 2**64 - 1)), "values and"),
    "2^60 tensors": (gguf(counts=(2**60, 0)), "values and"),
    "100,000 tensors that are not there": (gguf(counts=(100_000, 0)), "dimensions|the shape|too early|twice"),
    "a name of 2^63 bytes": (gguf((struct.pack("<Q", 2**63),)), "a text of"),
    "a name that ends after the file": (gguf((struct.pack("<Q", 100_000),)), "too early"),
    "a name that is no text": (gguf((value(b"\xff\xfe", U8, b"\0"),)), "UTF-8"),
    "a name that clears the terminal": (gguf((number(b"\x1b[2J", 1), number(b"\x1b[2J", 1))), "twice"),
    "a value of 2^63 bytes": (gguf((value(b"a", TEXT, struct.pack("<Q", 2**63)),)), "a text of"),
    "a kind that is none": (gguf((value(b"a", 99, b""),)), "kind 99"),
    "a list of 2^60 numbers in sixty bytes": (gguf((value(b"a", LIST, listed(U8, 2**60)),)), "a list of"),
    "a list of two million texts that are not there": (
        gguf((value(b"a", LIST, listed(TEXT, 2**21, text(b"w") * 3)),)),
        "too early",
    ),
    "a list of lists": (gguf((value(b"a", LIST, listed(LIST, 2)),)), "a list of"),
    "lists nested without end": (gguf((value(b"a", LIST, listed(LIST, 1) * 5000),)), "a list of"),
    "a list of things that are none": (gguf((value(b"a", LIST, listed(77, 10)),)), "kind 77"),
    "a value twice": (gguf((number(b"a", 1), number(b"a", 2))), "twice"),
    "an alignment of nothing": (gguf((number(b"general.alignment", 0),)), "alignment"),
    "an alignment of three": (gguf((number(b"general.alignment", 3),)), "alignment"),
    "an alignment of two gigabytes": (gguf((number(b"general.alignment", 2**31),)), "alignment"),
    "a tensor of 2^32 - 1 dimensions": (gguf((), (tensor(b"t", 2, dimensions=2**32 - 1),)), "dimensions"),
    "a shape that overflows": (gguf((), (tensor(b"t", 2**63, 2**63),)), "beyond"),
    "a shape whose product is nothing in 64 bits": (gguf((), (tensor(b"t", 2**32, 2**32),)), "beyond"),
    "a tensor of nothing": (gguf((), (tensor(b"t", 0),)), "the shape"),
    "half a block": (gguf((), (tensor(b"t", 33, kind=2),)), "the shape"),
    "a tensor of a kind that is none": (gguf((), (tensor(b"t", 2, kind=200),)), "kind 200"),
    "a tensor at 2^64 - 1": (gguf((), (tensor(b"t", 2, offset=2**64 - 1),)), "beyond"),
    "a tensor twice": (gguf((), (tensor(b"t", 2), tensor(b"t", 2))), "twice"),
    "a tensor called like a way out": (gguf((), (tensor(b"../../evil", 2),)), "GGUF"),
    "four billion layers": (gguf((number(b"llama.block_count", 2**32 - 1),), (tensor(b"blk.0.w", 2),)), "layers"),
    "a hundred layers of one": (gguf((number(b"llama.block_count", 100),), (tensor(b"blk.0.w", 2),)), "layers"),
    "no architecture": (gguf((), (tensor(b"t", 2),)), "GGUF"),
    "an architecture that is none": (gguf((value(b"general.architecture", TEXT, text(b"__import__")),)), "GGUF"),
    "an architecture that is a number": (gguf((number(b"general.architecture", 5),)), "GGUF"),
}
"""name -> a GGUF file, and a word of the sentence (or several, any of which will do)"""
VALUES: dict[str, tuple[bytes, int]] = {
    "a width of four billion": (b"llama.embedding_length", 2**32 - 1),
    "a width of nothing": (b"llama.embedding_length", 0),
    "another width": (b"llama.embedding_length", 8),
    "four billion words": (b"llama.vocab_size", 2**32 - 1),
    "no heads": (b"llama.attention.head_count", 0),
    "four billion heads": (b"llama.attention.head_count", 2**32 - 1),
    "no heads for keys": (b"llama.attention.head_count_kv", 0),
    "an inner width of four billion": (b"llama.feed_forward_length", 2**32 - 1),
}
"""name -> a value of a sound GGUF file and what it is changed to: each makes it one that cannot be loaded"""


def changed(data: bytes, name: bytes, number: int) -> bytes:
    """Return a GGUF file in which a value, a whole number of four bytes, is another one."""
    at = data.index(text(name)) + 8 + len(name)
    assert data[at : at + 4] == struct.pack("<I", U32)
    return data[: at + 4] + struct.pack("<I", number) + data[at + 8 :]


SOUND = tensors(head(), bytes(8))
EVIL = b"open('hit', 'w').close()\n"
OWN = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}
FOLDERS: dict[str, tuple[dict[str, Any], str]] = {
    "no configuration": ({"config.json": b""}, "could not be loaded"),
    "a configuration that is a list": ({"config.json": b"[]"}, "could not be loaded"),
    "a configuration nested without end": ({"config.json": b'{"a":' * 100_000}, "could not be loaded"),
    "a number of 100,000 digits": (
        {"config.json": b'{"model_type": "llama", "vocab_size": ' + b"9" * 100_000 + b"}"},
        "could not be loaded",
    ),
    "a family that is none": ({"config.json": {"model_type": "__class__"}}, "could not be loaded"),
    "2^60 layers": ({"config.json": {"num_hidden_layers": 2**60}}, "num_hidden_layers"),
    "2^60 layers inside": ({"config.json": {"text_config": {"num_hidden_layers": 2**60}}}, "num_hidden_layers"),
    "layers below nothing": ({"config.json": {"num_hidden_layers": -5, "layer_types": None}}, TAKEN),
    "a width of 2^40": ({"config.json": {"hidden_size": 2**40}}, "GB"),
    "a width below nothing": ({"config.json": {"hidden_size": -64}}, "could not be loaded"),
    "no heads": ({"config.json": {"num_attention_heads": 0, "head_dim": None}}, "could not be loaded"),
    "2^40 words": ({"config.json": {"vocab_size": 2**40}}, "GB"),
    "a width that is a text": ({"config.json": {"hidden_size": "64; import os"}}, "could not be loaded"),
    "code of its own": (
        {"config.json": {"model_type": "evil", "auto_map": OWN}, "evil.py": EVIL},
        "code|could not be loaded",
    ),
    "code of its own for a known family": ({"config.json": {"auto_map": OWN}, "evil.py": EVIL}, TAKEN),
    "a way of packing that is none": ({"config.json": {"quantization_config": {"quant_method": "evil"}}}, TAKEN),
    "no words": ({"tokenizer.json": b""}, "could not be loaded"),
    "words that are a list": ({"tokenizer.json": b"[]"}, "could not be loaded"),
    "words nested without end": ({"tokenizer.json": b'{"a":' * 100_000}, "could not be loaded"),
    "a tokenizer of its own": (
        {
            "tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["evil.T", None]}, "tokenizer_class": "T"},
            "evil.py": EVIL,
        },
        "|",
    ),
    "weights that are a pickle": ({"model.safetensors": b"\x80\x04cos\nsystem\n(S'touch hit'\ntR."}, "damaged"),
    "only pickles": (
        {"model.safetensors": None, "pytorch_model.bin": b"\x80\x04cos\nsystem\n(S'touch hit'\ntR."},
        "pickles",
    ),
    "pieces from elsewhere": (
        {
            "model.safetensors": None,
            "model-1.safetensors": b"",
            "model.safetensors.index.json": {"metadata": {}, "weight_map": {"lm_head.weight": "../../secret.safetensors"}},
        },
        "outside",
    ),
    "an adapter on itself": (
        {"adapter_config.json": {"base_model_name_or_path": "{folder}"}, "adapter_model.safetensors": SOUND},
        "adapter",
    ),
    "an adapter on an adapter": (
        {"adapter_config.json": {"base_model_name_or_path": "{folder}/."}, "adapter_model.safetensors": SOUND},
        "adapter",
    ),
    "an adapter on a number": (
        {"adapter_config.json": {"base_model_name_or_path": 5}, "adapter_model.safetensors": SOUND},
        "no model",
    ),
    "an adapter on a list": ({"adapter_config.json": b"[]", "adapter_model.safetensors": SOUND}, "not a readable adapter"),
    "an adapter nested without end": (
        {"adapter_config.json": b"[" * 100_000, "adapter_model.safetensors": SOUND},
        "not a readable adapter",
    ),
    "an adapter on another host": (
        {"adapter_config.json": {"base_model_name_or_path": "https://evil.example/x"}, "adapter_model.safetensors": SOUND},
        "no model",
    ),
}
"""name -> files that replace those of a sound folder (a configuration is changed, None removes), and a word of the
sentence"""


def written(name: str, content: Any, there: bytes, folder: str) -> bytes:
    """Return what a file of such a folder holds; there: what it held."""
    if not isinstance(content, dict):
        return bytes(content)
    known = json.loads(there) if there and name in ("config.json", "tokenizer_config.json") else {}
    return json.dumps(known | content).replace("{folder}", folder).encode()
