"""A token of the hub is in nothing that is written: not in runs, reports, archives, exports or logs, nor after an error."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from core.cli.main import main
from core.jobs import lifecycle
from core.runs import store
from core.runs.store import Run
from core.serve import client
from core.util import logs
from tests.processes import QUICK, ROOT, quick

TOKEN = "hf_MARKERthatNobodyMayWriteDown0123"
BLOB = re.compile(rb"[A-Za-z0-9+/]{40,}={0,2}")


def holds(data: bytes, name: str = "") -> bool:
    """Say whether the token is in some bytes, or in what they are packed from: zip, gzip, parquet, base64."""
    if TOKEN.encode() in data:
        return True
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            return any(holds(packed.read(entry), entry.filename) for entry in packed.infolist())
    if data[:2] == b"\x1f\x8b":
        return holds(gzip.decompress(data))
    if data[:4] == b"PAR1":
        table = pd.read_parquet(io.BytesIO(data))
        return TOKEN in table.to_csv() or TOKEN in str(table.attrs)
    if name.endswith((".html", ".json", ".md")):
        return any(holds(base64.b64decode(blob[: len(blob) // 4 * 4])) for blob in BLOB.findall(data))
    return False


def leaks(folder: Path) -> list[str]:
    """Return the files in a folder that hold the token."""
    return [str(path) for path in sorted(folder.rglob("*")) if path.is_file() and holds(path.read_bytes(), path.name)]


@pytest.fixture(autouse=True)
def signed_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have a token, write logs for machines, and keep all caches of this test in its own folder."""
    for name, folder in {"FORGETSCOPE_CACHE": "cache", "FORGETSCOPE_RUNS": "runs", "HF_HOME": "hub"}.items():
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setenv("FORGETSCOPE_ANSWERER", str(tmp_path / "answerer"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv(logs.VARIABLE, "json")


def test_the_search_finds_a_token_wherever_it_is_packed(tmp_path: Path) -> None:
    text = f"my token is {TOKEN}, keep it".encode()
    inner, outer = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.txt", text)
    with zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("inner.zip", inner.getvalue())
    (tmp_path / "a.zip").write_bytes(outer.getvalue())
    (tmp_path / "b.gz").write_bytes(gzip.compress(text))
    (tmp_path / "c.html").write_bytes(b"<p data='" + base64.b64encode(text) + b"'>")
    pd.DataFrame({"text": ["x", text.decode()]}).to_parquet(tmp_path / "d.parquet", compression="zstd")
    (tmp_path / "e.log").write_bytes(text)
    (tmp_path / "f.log").write_bytes(text.replace(TOKEN[:20].encode(), b""))
    assert [Path(name).name[0] for name in leaks(tmp_path)] == list("abcde")


def test_nothing_that_a_run_leaves_behind_holds_the_token(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = [part for name, value in QUICK.items() for part in ("--set", f"{name}={json.dumps(value).strip(chr(34))}")]
    assert main(["run", "--model", str(tiny_llama), "--data", str(tiny_data), *settings, "--json"]) == 0
    (run,) = store.list_runs(store.runs_folder())
    out = tmp_path / "out"
    out.mkdir()
    try:
        assert main(["answers", run.id, "--ask", "Where does Ada live?"]) == 0
    finally:
        client.leave()
    assert main(["report", run.id, "-o", str(out / "run.html")]) == 0
    assert main(["export", run.id, "-o", str(out / "run.zip")]) == 0
    for kind, name in {"adapter": "adapter.zip", "csv": "tables.zip", "parquet": "parquet.zip", "card": "card.md"}.items():
        assert main(["export", run.id, "--as", kind, "-o", str(out / name)]) == 0
    for listing in (["doctor"], ["doctor", "--json"], ["show", run.id, "--json"], ["runs", "--json"]):
        main(listing)
    assert {path.name for path in out.iterdir()} == {
        "run.html",
        "run.zip",
        "adapter.zip",
        "tables.zip",
        "parquet.zip",
        "card.md",
    }
    answered = [json.loads(line) for line in (client.socket_folder() / "answerer.log").read_text().splitlines()]
    assert [(line["run"], line["message"].partition(":")[0]) for line in answered] == [(run.id, "ask")]
    assert "Ada" not in json.dumps(answered)
    assert leaks(tmp_path) == []
    said = capfd.readouterr()
    assert run.id in said.out
    assert TOKEN not in said.out + said.err


class Unfriendly(BaseHTTPRequestHandler):
    """A hub that knows nobody, and repeats in its answer what it was told."""

    heard: list[str]

    def do_GET(self) -> None:
        told = self.headers.get("Authorization", "nothing")
        self.heard.append(told)
        body = json.dumps({"error": f"Invalid credentials: {told}"}).encode()
        self.send_response(401)
        self.send_header("X-Error-Message", f"Invalid credentials: {told}")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Let an unfriendly hub be the hub; return what it was told."""
    heard: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Heard", (Unfriendly,), {"heard": heard}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    yield heard
    server.shutdown()
    server.server_close()


def test_a_hub_that_repeats_the_token_does_not_get_it_into_a_run(hub: list[str], tiny_data: Path, tmp_path: Path) -> None:
    run: Run = lifecycle.submit(quick(Path("somebody/private"), tiny_data), store.runs_folder())
    list(lifecycle.follow(run))
    assert f"Bearer {TOKEN}" in hub  # the token was used, and sent back
    assert run.status()["state"] == "failed"
    assert "somebody/private" in run.status()["error"]
    assert leaks(tmp_path) == []


ASKS = """
import logging, os
from huggingface_hub import hf_hub_download
from core.util import logs
from core.util.errors import UserError
logs.start()
try:
    hf_hub_download("somebody/private", "config.json")
except Exception as error:
    assert os.environ["HF_TOKEN"] in str(error), "the hub's library does not repeat it: this test would show nothing"
    print(UserError(f"It could not be loaded: {error}"))
    logging.getLogger("core.hub").exception("unexpected error")
"""


def test_what_the_hubs_library_repeats_is_covered_in_sentences_and_tracebacks(hub: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", ASKS], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert f"Bearer {TOKEN}" in hub
    assert "Invalid credentials: Bearer (token)" in done.stdout
    assert json.loads(done.stderr.splitlines()[-1])["traceback"].endswith("Invalid credentials: Bearer (token)")
    assert TOKEN not in done.stdout + done.stderr
