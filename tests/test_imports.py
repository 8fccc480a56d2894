"""Who may import whom, when, and how many files a room holds: the rule of the house, each line of it as a test.

The layers stand in pyproject.toml ([tool.importlinter]). Here is what import-linter does not know: circles of single files,
imports inside functions, rooms that must stay light, and the size of a room.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("core", "dashboard")
OURS = (*PACKAGES, "tests")

HEAVY = {
    # library: milliseconds of processor time that the import takes in a fresh process (best of three, two idle cores)
    "torch": 1050,
    "transformers": 1690,
    "peft": 3490,
    "accelerate": 1170,
    "datasets": 600,
    "rouge_score": 750,
    "scipy": 600,
    "streamlit": 320,
    "pandas": 300,
    "huggingface_hub": 180,
    "pyarrow": 120,
    "gguf": 120,
    "numpy": 70,
    "starlette": 70,
    # About 40 here, more than 50 on a slower machine, and asked for by processes that must start at once.
    "filelock": 40,
    "jinja2": 48,
    "plotly": 38,
    # Installed by who wants them: nobody else has them to import.
    "ray": 0,
    "lm_eval": 0,
}
"""what an import inside a function may be of; what costs less (psutil 20, safetensors 1, markupsafe 8) stands at the top"""

BY_NAME = {
    "core/__init__.py": "the names that a script imports from core, each from its room when it is first used (PEP 562)",
    "core/cli/main.py": "the functions of a verb, from the table of verbs, when it is given",
    "core/util/process.py": "the work of a job, from core.runs.layout.KINDS, once its turn has come",
    "core/util/forkserver.py": "the module that a process is started for",
    "dashboard/__main__.py": "modules that every page needs, imported before the first visitor comes",
}
"""files that import modules by name, and which"""

FORBIDDEN_IN_LIGHT_ROOMS = ("torch", "transformers", "peft", "datasets", "ray")
LIGHT = (
    "core.__main__",
    "core.settings",
    "core.util",
    "core.methods",
    "core.regions",
    "core.config",
    "core.data",
    "core.runs",
    "core.metrics",
    "core.localization",
    "core.probes",
    "core.jobs",
    "core.report",
    "core.cli",
    "dashboard",
)
WORKER_ONLY = {
    "core.localization.margin": "a loss with a gradient of its own",
    "core.localization.recorder": "hooks in the model's layers",
    "core.localization.planted": "teaches modules",
    "core.localization.ablation": "runs the model without each module",
    "core.localization.cell_detail": "cuts gradients into rows, columns and heads",
    "core.localization.separability": "reads hidden states at every depth",
    "core.probes.context": "a run's model in memory, with what probes do with it",
    "core.probes.examine": "loads the model and makes the probes",
    "core.probes.hidden_states": "hooks in the model's blocks",
    "core.probes.trained_copy": "trains a copy of an adapter",
    "core.jobs.job_functions": "what a worker does for each kind of job",
    "core.jobs.sweep_runs": "the runs of a sweep on one model",
    "core.report.rescore": "asks a run's model again",
    "core.report.merged_model": "merges an adapter into its model",
    "core.report.gguf_file": "merges it, and rounds the weights",
    "core.report.gguf_text": "tokens and prompts, as the model reads them",
    "core.report.gguf_asked": "asks the file's model",
    "core.cli.plan": "runs steps without weights; imported when the verb is given",
}
"""modules of light rooms that only a worker imports, and why they need torch"""

MOST_ROOMS = 17
MOST_FILES = 25
SHELVES = ("methods", "metrics", "regions", "probes")
"""rooms with one small file a member"""
FLAT = {"__init__.py", "__main__.py", "settings.py"}
"""files of core/ that stand in no room"""


def modules() -> dict[str, Path]:
    """Return module name -> file, of everything in core and dashboard."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(tree: ast.AST, inside: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Yield every import that happens at run time, and whether it stands inside a function."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, inside
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from imports(ast.Module([other], []), inside)
        else:
            yield from imports(node, inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))


def targets(node: ast.Import | ast.ImportFrom, known: Mapping[str, object]) -> Iterator[str]:
    """Yield the modules that an import names: of `from room import file` the file, of another name the room."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    assert not node.level, "imports are absolute"
    for alias in node.names:
        whole = f"{node.module}.{alias.name}"
        yield whole if whole in known else str(node.module)


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected parts of more than one module (Tarjan 1972), each sorted."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(graph[module]):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            part = [stack.pop()]
            while part[-1] != module:
                part.append(stack.pop())
            if len(part) > 1 or module in graph[module]:
                found.append(sorted(part))

    for module in graph:
        if module not in index:
            visit(module)
    return found


def test_everybody_imports_only_what_lies_below() -> None:
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True) == EXIT_STATUS_SUCCESS


def test_no_modules_import_each_other() -> None:
    """Imports inside functions count, those for types do not."""
    graph = {
        name: {
            target
            for node, _ in imports(ast.parse(path.read_text(encoding="utf-8")))
            for target in targets(node, MODULES)
            if target in MODULES
        }
        for name, path in MODULES.items()
    }
    found = circles(graph)
    assert not found, "\n".join(map(" ↔ ".join, found))


def test_a_circle_is_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"e"}}
    assert circles(graph) == [["b", "c"], ["e"]]


def test_an_import_is_found_where_it_stands() -> None:
    source = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import a
else:
    import b
def f():
    try:
        from core.util import files
    except ImportError:
        import c
"""
    found = [(target, inside) for node, inside in imports(ast.parse(source)) for target in targets(node, MODULES)]
    assert found == [("typing", False), ("b", False), ("core.util.files", True), ("c", True)]


def test_only_heavy_libraries_are_imported_inside_functions() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} {target}"
        for path in MODULES.values()
        for node, inside in imports(ast.parse(path.read_text(encoding="utf-8")))
        if inside
        for target in targets(node, MODULES)
        if target.partition(".")[0] not in HEAVY
    ]
    assert not wrong, "\n".join(wrong)


def test_every_heavy_library_is_still_asked_for() -> None:
    asked = {
        target.partition(".")[0]
        for path in MODULES.values()
        for node, inside in imports(ast.parse(path.read_text(encoding="utf-8")))
        if inside
        for target in targets(node, MODULES)
    }
    assert set(HEAVY) - asked == set()
    assert not set(HEAVY) & set(OURS)


def test_modules_are_imported_by_name_in_few_places() -> None:
    """So that nothing hides from the tests above."""
    files = {
        str(path.relative_to(ROOT))
        for path in MODULES.values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("importlib.import_module", "import_module", "__import__", "pkgutil.resolve_name")
    }
    assert files == set(BY_NAME)


def light_modules() -> dict[str, list[str]]:
    """Return module -> what is to be imported: itself, and of a page, which is a script that streamlit runs, its imports."""
    found = {}
    for name, path in MODULES.items():
        if name in WORKER_ONLY or not f"{name}.".startswith(tuple(f"{room}." for room in LIGHT)):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        script = any(isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) for node in tree.body)
        asked = (target for node, inside in imports(tree) if not inside for target in targets(node, MODULES))
        found[name] = sorted(set(asked)) if script else [name]
    return found


def test_light_rooms_load_no_model_library() -> None:
    code = (
        "import importlib, json, sys\n"
        f"heavy, wanted = {FORBIDDEN_IN_LIGHT_ROOMS!r}, json.loads(sys.argv[1])\n"
        "for name, modules in wanted.items():\n"
        "    for module in modules:\n"
        "        importlib.import_module(module)\n"
        "    if loaded := [library for library in heavy if library in sys.modules]:\n"
        "        sys.exit(f'{name} loads {loaded}')\n"
    )
    wanted = light_modules()
    assert wanted["dashboard.compare.page"] != ["dashboard.compare.page"], "importing a page would run it"
    command = [sys.executable, "-c", code, json.dumps(wanted)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr.strip().splitlines()[-1]


def test_the_exceptions_are_there() -> None:
    assert set(WORKER_ONLY) <= set(MODULES)


def rooms() -> dict[str, int]:
    """Return room of core -> how many files of code stand in it."""
    return {
        folder.name: len(list(folder.glob("*.py")))
        for folder in sorted((ROOT / "core").iterdir())
        if any(folder.glob("*.py"))
    }


def test_core_has_few_rooms_and_no_file_outside_of_them() -> None:
    assert len(rooms()) <= MOST_ROOMS
    assert {path.name for path in (ROOT / "core").glob("*.py")} == FLAT


@pytest.mark.parametrize("room", [room for room in rooms() if room not in SHELVES])
def test_a_room_is_small(room: str) -> None:
    assert rooms()[room] <= MOST_FILES
