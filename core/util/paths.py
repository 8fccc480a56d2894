"""Text of a user, a file or an address -> a path, which never leaves the folder that it is meant for."""

from __future__ import annotations

import os
from pathlib import Path

from core.util.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
"""of the project"""
ASSETS = ROOT / "assets"


def contained(folder: Path, name: str) -> Path:
    """Return the path of a name in a folder. Raises UserError where it would lie outside: by an absolute path, `..` or a
    link.

    The file itself need not exist. A folder that is itself a link is where its link leads.
    """
    path = folder / name
    try:
        exists(path)
        inside = bool(name) and path.resolve().is_relative_to(folder.resolve()) and path.resolve() != folder.resolve()
    except (OSError, ValueError, RuntimeError):  # a NUL, a name that is too long, links in a circle
        inside = False
    if not inside:
        raise UserError(f"“{name[:80]}” lies outside of the folder {folder.name}.", "Give the name of something in it.")
    return path


def inside(folder: Path, name: str) -> Path | None:
    """Return the path of a name in a folder, None where it would lie outside: for names that a file of a run has."""
    try:
        return contained(folder, name)
    except UserError:
        return None


def given(text: str) -> Path:
    """Return the path that a person typed, with ~ replaced. Raises UserError where it can be no path on this machine."""
    try:
        path = Path(text).expanduser()
        exists(path)
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, somebody who has no home here
        raise UserError(f"“{text[:80]}” cannot be a path on this machine.", "Type it as the system writes it.") from None
    return path


def exists(path: Path) -> bool:
    """Say whether something is at a path. Raises OSError or ValueError for what no path can be."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
    return True


def cache_folder() -> Path:
    """Return the folder for converted models, locks and sockets; FORGETSCOPE_CACHE overrides it."""
    base = os.environ.get("FORGETSCOPE_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "forgetscope"
