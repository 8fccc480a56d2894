"""Archives of runs: what is done to a sound one, and a word of the sentence that refuses it."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

from core.runs import archive, store
from tests.hostile import data_files
from tests.hostile.data_files import parquet
from tests.hostile.harness import TAKEN

ID = "20260101-000000-mine-abcd"
Change = Callable[[zipfile.ZipFile], None]


def sound() -> dict[str, bytes]:
    """Return the files of a small finished run."""
    bundled = store.bundled_runs()[0]
    return {name: (bundled.path / name).read_bytes() for name in ("config.json", "status.json", "region.json")}


def forged(
    more: dict[str, bytes] | None = None,
    change: Change | None = None,
    head: bytes | None = None,
    run: str = ID,
    how: int = zipfile.ZIP_DEFLATED,
) -> bytes:
    """Return an archive made by hand: a sound run and more files, all of them in the list, and then a change."""
    files, out = sound() | (more or {}), io.BytesIO()
    facts = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in files.items()}
    whole = json.dumps({"format": 1, "kind": archive.KIND, "runs": [{"id": run, "files": facts}]}).encode()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", how) as made:
        warnings.simplefilter("ignore")  # names twice
        for name, data in files.items():
            made.writestr(f"{run}/{name}", data)
        made.writestr(archive.LIST, whole if head is None else head)
        if change:
            change(made)
    return out.getvalue()


def entry(name: str, data: bytes = b"{}", mode: int = 0) -> Change:
    """Return a change that adds an entry which no list names; mode: of Unix."""

    def add(made: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo("x")
        info.filename = name  # ZipInfo itself would cut a name off at a NUL
        info.external_attr = mode << 16
        made.writestr(info, data)

    return add


def listing(**values: Any) -> bytes:
    """Return a list of an archive with some values changed."""
    return json.dumps({"format": 1, "kind": archive.KIND, "runs": [{"id": ID, "files": {}}], **values}).encode()


def patched(data: bytes, mark: bytes, offset: int, value: bytes) -> bytes:
    """Return a zip whose headers of a kind (by their mark) all have other bytes at an offset."""
    made = bytearray(data)
    for at in [i for i in range(len(made) - 3) if made[i : i + 4] == mark]:
        made[at + offset : at + offset + len(value)] = value
    return bytes(made)


CENTRAL, LOCAL, END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"


def overlapping() -> bytes:
    """Return a zip whose entries all share one compressed block (the way to unpack 281 TB from 10 MB)."""
    data = bytearray(forged({"big.npz": bytes(2**20)}))
    places = [i for i in range(len(data) - 3) if data[i : i + 4] == CENTRAL]
    first = data[places[0] + 42 : places[0] + 46]
    for at in places[1:]:
        data[at + 42 : at + 46] = first
    return bytes(data)


def npz(name: str = "a.npy", header: bytes | None = None, body: bytes = b"", times: int = 1) -> bytes:
    """Return an array file with one array (or the same several times) whose header is given as text."""
    head = header if header is not None else b"{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }"
    array, out = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + body, io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        warnings.simplefilter("ignore")
        for _ in range(times):
            made.writestr(name, array)
    return out.getvalue()


def tensors(header: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    """Return a safetensors file with a header as text; length: what the file says of it, if not the truth."""
    return struct.pack("<Q", (len(header) if length is None else length) % 2**64) + header + body


F32: dict[str, Any] = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def head(**changes: Any) -> bytes:
    """Return the header of one tensor with some values changed."""
    return json.dumps({"a": F32 | changes}).encode()


SAFETENSORS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "not a safetensors"),
    "seven bytes": (b"\0" * 7, "not a safetensors"),
    "a header of 2^63 bytes": (tensors(b"{}", length=2**63), "not a safetensors"),
    "a header of 2^64 - 1 bytes": (tensors(b"{}", length=-1), "not a safetensors"),
    "a header of a terabyte": (tensors(b"{}", length=2**40), "not a safetensors"),
    "a header one byte too long": (tensors(head(), b"\0" * 8, len(head()) + 9), "not a safetensors"),
    "a header of nothing": (tensors(b""), "not a safetensors"),
    "a header that is a list": (tensors(b"[]"), "not a safetensors"),
    "a header nested without end": (tensors(b'{"a":' * 50_000), "not a safetensors"),
    "a header of a million tensors": (
        tensors(
            b"{" + b",".join(b'"t%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % i for i in range(200_000)) + b"}"
        ),
        "tensors",
    ),
    "offsets backwards": (tensors(head(data_offsets=[8, 0]), b"\0" * 8), "not a safetensors"),
    "offsets below nothing": (tensors(head(data_offsets=[-8, 0]), b"\0" * 8), "not a safetensors"),
    "offsets beyond the file": (tensors(head(data_offsets=[0, 2**50], shape=[2**48]), b"\0" * 8), "not a safetensors"),
    "offsets of 2^64": (tensors(head(data_offsets=[0, 2**64]), b"\0" * 8), "not a safetensors"),
    "two tensors in one place": (tensors(json.dumps({"a": F32, "b": F32}).encode(), b"\0" * 8), "not a safetensors"),
    "a hole between": (
        tensors(json.dumps({"a": F32, "b": F32 | {"data_offsets": [16, 24]}}).encode(), b"\0" * 24),
        "not a safetensors",
    ),
    "a negative shape": (tensors(head(shape=[-2]), b"\0" * 8), "not a safetensors"),
    "a shape that overflows": (tensors(head(shape=[2**63, 2]), b"\0" * 8), "not a safetensors"),
    "a shape of a thousand numbers": (tensors(head(shape=[1] * 999 + [2]), b"\0" * 8), "dimensions"),
    "a shape of texts": (tensors(head(shape=["2"]), b"\0" * 8), "not a safetensors"),
    "a kind that is none": (tensors(head(dtype="O"), b"\0" * 8), "not a safetensors"),
    "bytes after the end": (tensors(head(), b"\0" * 9), "not a safetensors"),
    "a key twice": (
        tensors(b'{"a":' + json.dumps(F32).encode() + b',"a":' + json.dumps(F32).encode() + b"}", b"\0" * 8),
        TAKEN,
    ),
    "metadata that is a list": (
        tensors(b'{"__metadata__":[1],"a":' + json.dumps(F32).encode() + b"}", b"\0" * 8),
        "not a safetensors",
    ),
    "a name of a megabyte": (tensors(b'{"' + b"n" * 2**20 + b'":' + json.dumps(F32).encode() + b"}", b"\0" * 8), TAKEN),
    "a pickle": (b"\x80\x04\x95\x0f\0\0\0\0\0\0\0cos\nsystem\n", "not a safetensors"),
}
ZIPS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a sound one": (forged, TAKEN),
    "nothing": (lambda: b"", "not a complete zip"),
    "only an end": (lambda: END + b"\0" * 18, "no exported run"),
    "a gzip": (lambda: b"\x1f\x8b\x08\0" + b"\0" * 30, "not a complete zip"),
    "a way out": (lambda: forged(change=entry("../evil.json")), "outside of the run"),
    "a way out in the middle": (lambda: forged(change=entry(f"{ID}/a/../../../evil.json")), "outside of the run"),
    "a way out of Windows": (lambda: forged(change=entry(f"{ID}\\..\\..\\evil.json")), "outside of the run"),
    "a place": (lambda: forged(change=entry("/tmp/evil.json")), "outside of the run"),
    "a place of Windows": (lambda: forged(change=entry("C:\\evil.json")), "outside of the run"),
    "another machine": (lambda: forged(change=entry("\\\\host\\share\\evil.json")), "outside of the run"),
    "a NUL in a name": (lambda: forged(change=entry(f"{ID}/a.json\0.pkl")), "no run has"),
    "a line feed in a name": (lambda: forged(change=entry(f"{ID}/a\n.json")), "no run has"),
    "a name that turns around": (lambda: forged(change=entry(f"{ID}/\u202enosj.json")), "no run has"),
    "a name of only dots": (lambda: forged(change=entry(f"{ID}/./x.json")), "no run has"),
    "an empty part of a name": (lambda: forged(change=entry(f"{ID}//x.json")), "no run has"),
    "a name of 60,000 characters": (lambda: forged(change=entry(f"{ID}/{'n' * 60_000}.json")), "no run has"),
    "a folder of 200 levels": (lambda: forged(change=entry(f"{ID}/{'a/' * 200}x.json")), "no run has"),
    "the name of a device": (lambda: forged(change=entry(f"{ID}/aux.json")), "no run has"),
    "a hidden file": (lambda: forged(change=entry(f"{ID}/.worker.lock")), "no run has"),
    "a pickle": (lambda: forged(change=entry(f"{ID}/model.pt")), "no run has"),
    "a script": (lambda: forged(change=entry(f"{ID}/conftest.py")), "no run has"),
    "a log": (lambda: forged(change=entry(f"{ID}/worker.log")), "no run has"),
    "a request to stop": (lambda: forged(change=entry(f"{ID}/cancel")), "no run has"),
    "the trash": (lambda: forged(run=".trash"), "no run has"),
    "a link": (lambda: forged(change=entry(f"{ID}/link.json", b"/etc/passwd", stat.S_IFLNK | 0o777)), "a link"),
    "a link to a folder": (lambda: forged(change=entry(f"{ID}/before", b"/etc", stat.S_IFLNK | 0o777)), "a link"),
    "a pipe": (lambda: forged(change=entry(f"{ID}/pipe.json", b"", stat.S_IFIFO | 0o666)), "a link or something else"),
    "a device": (lambda: forged(change=entry(f"{ID}/device.json", b"", stat.S_IFBLK | 0o666)), "a link or something else"),
    "a socket": (lambda: forged(change=entry(f"{ID}/socket.json", b"", stat.S_IFSOCK | 0o666)), "a link or something else"),
    "a folder": (lambda: forged(change=entry(f"{ID}/after/", b"", stat.S_IFDIR | 0o755)), "a link or something else"),
    "a program that runs as its owner": (
        lambda: forged(change=entry(f"{ID}/x.json", b"{}", stat.S_IFREG | 0o6777)),
        "not in its list",
    ),
    "a name twice": (lambda: forged(change=entry(f"{ID}/config.json")), "twice"),
    "a name twice in other letters": (lambda: forged(change=entry(f"{ID}/Config.JSON")), "no run has"),
    "a name twice but for one letter": (lambda: forged(change=entry(f"{ID}/Config.json")), "twice"),
    "a folder in other letters": (lambda: forged({"after/x.json": b"{}", "After/X.json": b"{}"}), "twice"),
    "a file called like a folder": (lambda: forged({"after.json": b"{}", "after.json/x.json": b"{}"}), "name of a folder"),
    "a bomb": (lambda: forged({"big.npz": bytes(20 * 2**20)}), "100 times"),
    "a bomb that says it is small": (
        lambda: patched(forged({"big.npz": bytes(20 * 2**20)}), CENTRAL, 24, struct.pack("<I", 1000)),
        "another size",
    ),
    "one block for all": (overlapping, "complete zip"),
    "16 GB, it says": (lambda: patched(forged(), CENTRAL, 24, struct.pack("<I", 2**32 - 2)), "100 times"),
    "encrypted": (lambda: patched(forged(), CENTRAL, 8, b"\x01\x08"), "encrypted"),
    "packed in another way": (lambda: forged(how=zipfile.ZIP_LZMA), "packed in a way"),
    "a way of packing that is none": (lambda: patched(forged(), CENTRAL, 10, b"\x63\0"), "packed in a way"),
    "another name inside than outside": (lambda: forged().replace(b"region.json", b"regioX.json", 1), "complete zip"),
    "a name inside that is no text": (
        lambda: patched(forged(), LOCAL, 6, b"\0\x08").replace(b"region.json", b"regio\xff.json", 1),
        "complete zip",
    ),
    "a head beyond the end": (lambda: patched(forged(), CENTRAL, 42, b"\xff\xff\xff\x7f"), "complete zip"),
    "65,535 files, it says": (lambda: patched(forged(), END, 8, b"\xff\xff\xff\xff"), TAKEN),
    "6,000 files": (
        lambda: forged(change=lambda made: [made.writestr(f"{ID}/f{i}.json", "{}") for i in range(6000)] and None),
        "more than 5000 files",
    ),
    "a comment of 60,000 bytes": (
        lambda: forged(change=lambda made: setattr(made, "comment", b"PK\x05\x06" * 15_000)),
        "complete zip",
    ),
    "a list nested without end": (lambda: forged(head=b"[" * 100_000), "not readable JSON"),
    "a list with a number of 100,000 digits": (
        lambda: forged(head=b'{"format":' + b"1" * 100_000 + b"}"),
        "not readable JSON",
    ),
    "a list of another kind": (lambda: forged(head=listing(kind="x")), "not that of an exported run"),
    "a list from the future": (lambda: forged(head=listing(format=1e308)), "damaged"),
    "a list of 10,000 runs": (
        lambda: forged(head=listing(runs=[{"id": f"r{i}", "files": {}} for i in range(10_000)])),
        "damaged",
    ),
    "a run whose id is a list": (lambda: forged(head=listing(runs=[{"id": [1], "files": {}}])), "damaged"),
    "a run twice": (lambda: forged(head=listing(runs=[{"id": ID, "files": {}}] * 2)), "damaged"),
    "a size below nothing": (
        lambda: forged(head=listing(runs=[{"id": ID, "files": {"config.json": {"sha256": "", "bytes": -1}}}])),
        "not in its list",
    ),
    "a size that is true": (
        lambda: forged(head=listing(runs=[{"id": ID, "files": {"a.json": {"sha256": "", "bytes": True}}}])),
        "not in its list",
    ),
    "files that are a list": (lambda: forged(head=listing(runs=[{"id": ID, "files": []}])), "damaged"),
    "the head of another run": (lambda: forged(head=listing(runs=[{"id": "other", "files": {}}])), "not in its list"),
    "no configuration": (lambda: forged({"config.json": b"{}"}), TAKEN),
    "a configuration that is a list": (lambda: forged({"config.json": b"[]"}), "not a JSON object"),
    "a configuration of nonsense": (lambda: forged({"config.json": b'{"model": 5}'}), "JSON object"),
    "a configuration of code": (
        lambda: forged({"config.json": b'{"model": {"name": "org/x", "trust_remote_code": true}}'}),
        TAKEN,
    ),
    "a state of a living process": (
        lambda: forged({"status.json": b'{"state": "running", "pid": 1, "host": "x", "heartbeat": 1e308}'}),
        TAKEN,
    ),
    "a state of a time without end": (
        lambda: forged({"status.json": b'{"state": "done", "created": 1e300, "began": -1e300}'}),
        TAKEN,
    ),
    "a state of nonsense": (
        lambda: forged({"status.json": b'{"state": ["done"], "stages": {"teach": 5}, "created": "soon"}'}),
        TAKEN,
    ),
    "half a character in what a run ended with": (
        lambda: forged({"status.json": b'{"state": "cancelled", "error": "\\ud83d"}'}),
        TAKEN,
    ),
    "half a character in a name": (lambda: forged({"label.json": b'{"name": "\\ud83d"}'}), TAKEN),
    "JSON nested without end": (lambda: forged({"region.json": b"[" * 100_000}), "not readable JSON"),
    "JSON nested 41 deep": (lambda: forged({"x.json": b'{"a":' * 41 + b"1" + b"}" * 41}), "nested too deeply"),
    "JSON with a number of 100,000 digits": (
        lambda: forged({"x.json": b'{"a":' + b"1" * 100_000 + b"}"}),
        "not readable JSON",
    ),
    "JSON in Latin-1": (lambda: forged({"x.json": b'{"a": "\xe9"}'}), "not readable JSON"),
    "a line nested without end": (lambda: forged({"answers.jsonl": b"{}\n" + b"[" * 100_000}), "nested too deeply"),
    "lines of nonsense": (lambda: forged({"events.jsonl": b"\xff\xfe\n\0\0\n{]\n"}), TAKEN),
    "an array of objects": (
        lambda: forged({"detail.npz": npz(header=b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }")}),
        "could run code",
    ),
    "an array header that is code": (
        lambda: forged({"detail.npz": npz(header=b"__import__('os').system('touch hit')")}),
        "not a file of arrays",
    ),
    "an array header nested without end": (lambda: forged({"detail.npz": npz(header=b"(" * 9000)}), "not a file of arrays"),
    "an array of 2^62 numbers": (
        lambda: forged(
            {"detail.npz": npz(header=b"{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904,), }")}
        ),
        "shorter than it says",
    ),
    "an array of a negative size": (
        lambda: forged({"detail.npz": npz(header=b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }")}),
        "shorter than it says",
    ),
    "an array twice": (lambda: forged({"detail.npz": npz(body=b"\0" * 8, times=2)}), "twice"),
    "an array called like a way out": (lambda: forged({"detail.npz": npz("../../evil.npy", body=b"\0" * 8)}), TAKEN),
    "a bomb of arrays": (
        lambda: forged(
            {
                "detail.npz": npz(
                    header=b"{'descr': '|u1', 'fortran_order': False, 'shape': (104857600,), }", body=bytes(100 * 2**20)
                )
            },
            how=zipfile.ZIP_STORED,
        ),
        "too large when unpacked",
    ),
    "a table that is none": (lambda: forged({"tokens.parquet": b"PAR1" + b"\xff" * 50 + b"PAR1"}), "not a readable table"),
    "a table of one text again and again": (
        lambda: forged({"tokens.parquet": parquet(text=data_files.again("x" * 10_000))}),
        "too large when unpacked",
    ),
    "a table of lists of one text again and again": (
        lambda: forged({"tokens.parquet": parquet(text=data_files.in_one_row(data_files.again("x" * 10_000)))}),
        "too large when unpacked",
    ),
    "a table with a foot of four gigabytes": (
        lambda: forged({"tokens.parquet": b"PAR1" + b"\0" * 64 + b"\xff\xff\xff\x7fPAR1"}),
        "not a readable table",
    ),
}
