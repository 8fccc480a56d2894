"""What all tests share: tiny models and data made once, folders of their own, one torch thread."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.tiny import make_data, make_tiny

if TYPE_CHECKING:
    from core.runs.store import Run
    from tests.naive import Bench

ROOT = Path(__file__).resolve().parent.parent

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test's runs, tickets and answerer apart from the user's and from each other's."""
    # By number: pytest's own way to find a free name looks through all folders there are, once a test.
    place = tmp_path_factory.getbasetemp() / "own" / str(next(NUMBERS))
    place.mkdir(parents=True)
    monkeypatch.setenv("FORGETSCOPE_RUNS", str(place / "runs"))
    monkeypatch.setenv("FORGETSCOPE_QUEUE", str(place / "queue"))
    monkeypatch.setenv("FORGETSCOPE_ANSWERER", str(place / "answerer"))


@pytest.fixture(scope="session")
def one_thread() -> None:
    """Use one torch thread: tiny matrices gain nothing from more, and results stay the same bits."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_of(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Callable[[str], Path]:
    """Return a function that gives a tiny model's folder by architecture; each is made once a session."""
    return _made_once(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def deep_tiny_of(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Callable[[str], Path]:
    """Return the same for models of four layers."""
    return _made_once(tmp_path_factory.mktemp("deep"), layers=4)


def _made_once(place: Path, layers: int = 0) -> Callable[[str], Path]:
    made = dict[str, Path]()

    def tiny(architecture: str) -> Path:
        if architecture not in made:
            made[architecture] = make_tiny(place / architecture, architecture, layers=layers)
        return made[architecture]

    return tiny


@pytest.fixture(scope="session")
def tiny_llama(tiny_of: Callable[[str], Path]) -> Path:
    """Return the folder of a tiny Llama."""
    return tiny_of("llama")


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three invented people in KnowUnDo's layout, subset privacy."""
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def unlearned_run(tiny_llama: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a finished run of a tiny model, made by a worker; for tests that only read it."""
    from core.jobs import lifecycle
    from tests.processes import quick

    place = tmp_path_factory.mktemp("unlearned")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORGETSCOPE_QUEUE", str(place / "queue"))
        run = lifecycle.submit(quick(tiny_llama, tiny_data, unlearn__learning_rate=0.1), place / "runs")
        list(lifecycle.follow(run))
    assert run.status()["state"] == "done", run.status()
    return run


@pytest.fixture
def no_process_left(tmp_path: Path) -> Iterator[None]:
    """End what a failed test leaves running in its folder."""
    from tests.processes import end_all

    yield
    end_all(tmp_path)


@pytest.fixture(scope="session")
def knowundo() -> Path:
    """Return the published benchmark's folder, or skip."""
    place = ROOT.parent / "shared" / "knowundo"
    if not (place / "privacy" / "unlearn.json").is_file():
        pytest.skip(f"the published KnowUnDo files are not at {place}")
    return place


SLOWEST_FIRST = ("e2e/test_run_page", "e2e/", "jobs/", "cli/", "serve/", "pipeline/", "probes/", "models/", "dashboard/")
"""where tests lie that take long; all others are short"""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes share the tests, file by file, let the longest begin: a short one then comes last."""
    if not hasattr(config, "workerinput"):
        return
    tests = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(tests).as_posix()
        return next((i for i, start in enumerate(SLOWEST_FIRST) if name.startswith(start)), len(SLOWEST_FIRST))

    items.sort(key=place)


def pytest_configure(config: pytest.Config) -> None:
    """Make announcements of libraries that a call is going away into errors: drift shows early."""
    config.addinivalue_line("filterwarnings", "error::FutureWarning")
    config.addinivalue_line("filterwarnings", "error::DeprecationWarning:core")


@pytest.fixture
def bench(tiny_llama: Path, tiny_data: Path) -> Bench:
    """Return a tiny Llama with a live adapter "before" and the tiny data, encoded."""
    from tests.naive import make_bench

    return make_bench(tiny_llama, tiny_data)


@pytest.fixture
def bench_of(tiny_of: Callable[[str], Path], tiny_data: Path) -> Callable[..., Bench]:
    """Return a function that makes a bench of an architecture."""
    from tests.naive import make_bench

    return lambda architecture, **settings: make_bench(tiny_of(architecture), tiny_data, **settings)
