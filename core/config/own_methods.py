"""A method from a file of the user's own. Knowing of one runs nothing: only a worker imports the file.

A configuration may come from anybody (an imported run, a link), so it holds a name, a class, settings as JSON and the
SHA-256 of the source, never code. The source is imported only where it lies among the files that were named on this
machine's command line: a folder of copies, each called by its own hash.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

from core.config.run_config import built
from core.methods.base import Method
from core.methods.own import OwnMethod, settings_of
from core.util import failure_sentences, files
from core.util.errors import UserError, unknown
from core.util.paths import cache_folder, given

LARGEST = 2**20
"""bytes of a source file"""
RECORD = "method.json"
"""the source in a run, as text in JSON: data that an archive may hold and nothing executes"""


def named(text: str) -> OwnMethod | None:
    """Take FILE.py:CLASS from the command line: trust the file as it is now. None where the text names no file.

    Raises UserError where there is no such file or class.
    """
    name, _, kind = text.rpartition(":")
    if not name and text.endswith(".py"):
        raise UserError(f"{text} names no class.", f"Write {text}:CLASS.")
    if not name.endswith(".py"):
        return None
    path = given(name)
    try:
        source = path.read_text(encoding="utf-8")
        classes = [node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.", "Give the path of a Python file.") from None
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path} is not a readable Python file ({error}).", "Repair it.") from None
    if kind not in classes:
        raise unknown(f"class in {path.name}", kind, classes)
    if len(source.encode()) > LARGEST:
        raise UserError(f"{path.name} is larger than {LARGEST // 2**20} MB.", "A method is a few lines.")
    return OwnMethod(file=path.name, kind=kind, sha256=_trust(source))


def resolved(method: Method) -> Method:
    """Return the method itself: of an own one an object of its class, imported now. For the worker.

    Raises UserError where the file was never named on this machine, or is no method.
    """
    if not isinstance(method, OwnMethod):
        return method
    kind = getattr(_module(method), method.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, Method)) or kind is Method:
        raise UserError(f"{method.label} is no method.", "Derive the class from core.methods.Method.")
    try:
        return built(kind, settings_of(method.settings), method.label)  # type: ignore[no-any-return]
    except TypeError as error:
        raise UserError(
            f"{method.label} cannot be made ({error}).", "Make it a frozen dataclass whose settings all have defaults."
        ) from error


def source_of(method: OwnMethod) -> str:
    """Return the source, from the copies of trusted files. Raises UserError where it is not among them."""
    # A configuration may come from anybody, so only what is a hash becomes a part of a path.
    if re.fullmatch(r"[0-9a-f]{64}", method.sha256):
        path = _folder() / f"{method.sha256}.py"
        if path.is_file():
            source = path.read_text(encoding="utf-8")
            # Hashed again: the copy may have been changed since it was trusted.
            if _hash(source) == method.sha256:
                return source
    raise UserError(
        f"The method {method.label} is code that was never named on this machine, so it is not run.",
        f"Read it in the run's {RECORD}; if you trust it, save it and start with --method FILE.py:{method.kind}.",
    )


def record(method: Method, folder: Path) -> None:
    """Write an own method's source into a run, so that the run can be repeated."""
    if isinstance(method, OwnMethod):
        facts = {"file": method.file, "class": method.kind, "sha256": method.sha256, "source": source_of(method)}
        files.write_json(folder / RECORD, facts)


def _trust(source: str) -> str:
    """Keep a copy of a source under its hash; return the hash."""
    digest = _hash(source)
    folder = _folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise failure_sentences.disk_error(folder, error) from error
    files.write_text(folder / f"{digest}.py", source)
    return digest


def _folder() -> Path:
    return cache_folder() / "trusted-methods"


def _hash(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()


def _module(method: OwnMethod) -> ModuleType:
    """Import a trusted file. Raises UserError for whatever it raises."""
    source = source_of(method)
    name = f"forgetscope_own_{method.sha256[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_loader(name, loader=None, origin=method.file)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their types up there
    try:
        exec(compile(source, method.file, "exec"), module.__dict__)
    except Exception as error:
        del sys.modules[name]
        raise UserError(f"{method.file} cannot be imported ({type(error).__name__}: {error}).", "Repair it.") from error
    return module
