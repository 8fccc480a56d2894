"""A stage of a run: a function, what its result depends on, what it reads of earlier stages and what it leaves.

The key under which its files are cached is a hash of exactly its inputs, and of what every stage depends on. So a new
threshold costs only unlearning, answers and evaluation; so does a new method.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from core.models.distributed import Group
from core.models.placement import with_bitsandbytes
from core.models.tokens import DAY, TODAY, end_of_answer, is_plain
from core.pipeline.state import State
from core.runs import stage_files
from core.runs.store import Run
from core.util import failure_sentences
from core.util.errors import UserError
from core.util.progress import Reporter, forget_peak_memory, peaks

Input = Callable[[State], Sequence[Any]]
"""-> values that a stage depends on: plain ones and dataclasses, none where it makes no difference this time"""


def _nothing(*_: Any) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Stage:
    """One step of a run; see the module's docstring."""

    name: str
    work: Callable[[State, Path], str | None]
    """(state, folder) -> writes its files there: the cache's folder, or the run's own where there are no inputs. May
    return where it took its result from, if it did not make it"""
    inputs: tuple[Input, ...] = ()
    """what its files depend on; none: it is done anew each time"""
    code: int = 0
    """raised whenever it computes or writes something else than before: old cache entries become unreachable"""
    reads: tuple[str, ...] = ()
    """products of earlier stages that it reads"""
    leaves: tuple[str, ...] = ()
    """products that it leaves in the state"""
    writes: tuple[str, ...] = ()
    """files and folders that it writes; some only with some settings"""
    prepare: Callable[[State], None] = _nothing
    """gathers what the key depends on, where that is not there yet"""
    found: Callable[[State, Run, Path], None] | None = None
    """(state, bundled run, folder) -> writes its files out of what that run recorded; None: a bundled run has them as they
    are, or not at all"""
    take: Callable[[State, str], None] = _nothing
    """(state, where they came from) -> brings the files, now in the run, into the state"""
    together: bool = True
    """whether the processes of a run share the work; else the main one does it and the others wait"""
    on_bare_base: bool = False
    """whether it works on the base as it was loaded: before anything is taught, merged or given"""

    def key(self, state: State) -> str:
        """Return the key of its files. Products that the inputs read must be there."""
        common = [self.code, *_common(state, bare=self.on_bare_base)]
        return digest(common, *(value for values in self.inputs for value in values(state)))


def digest(*parts: Any) -> str:
    """Return a short hash of plain values and dataclasses."""
    plain = [settings(p) if dataclasses.is_dataclass(p) else p for p in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:20]


def settings(config: Any, *, without: Sequence[str] = ()) -> dict[str, Any]:
    """Return a settings object as it enters keys, without those fields that change nothing of a stage's files."""
    values = {"class": type(config).__name__, **asdict(config)}
    return {name: value for name, value in values.items() if name not in without}


def _common(state: State, *, bare: bool) -> list[Any]:
    """Return what every stage depends on. What follows the seed is there only where it makes a difference."""
    model, tokenizer, config = state.loaded.model, state.loaded.tokenizer, state.config
    weights: Any = state.loaded.files or str(state.loaded.folder)
    if not bare and state.taught and config.teach.merge:
        weights = [weights, state.keys["teach"], "merged"]
    values = [weights, state.dtype, config.model.template, config.seed]
    if state.group.size > 1:  # sums over several processes are not the same bits as those of one
        values.append(state.group.size)
    if config.model.weights != "full":
        values.append([config.model.weights, with_bitsandbytes(config.model, model.device.type)])
    if state.loaded.name != "bundled":  # its tokenizer comes with its weights
        values.append(state.loaded.reading)
    if (end := end_of_answer(tokenizer, config.model.template)) != tokenizer.eos_token_id:
        values.append(["end", end])
    if not is_plain(tokenizer, config.model.template) and TODAY.search(str(tokenizer.chat_template)):
        values.append(["day", str(DAY)])
    if model.device.type != "cpu":  # it computes other bits than this machine's processor
        values.append(model.device.type)
    if (attention := model.config._attn_implementation) != "eager":  # the same but for rounding
        values.append(["attention", attention])
    if not bare and not state.taught:  # what was taught has the settings of the teach stage
        values.append(_scales(state))
    return values


def _scales(state: State) -> Any:
    """Return what B·A is multiplied by: it is in no tensor, so no hash of an adapter knows it."""
    if not state.loaded.adapter:
        return state.config.teach.alpha
    config = json.loads((state.loaded.adapter / "adapter_config.json").read_text(encoding="utf-8"))
    return {name: config.get(name) for name in ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora")}


def perform(stage: Stage, state: State) -> str:
    """Do a stage; return where its result came from, an empty string where it was made now."""
    with state.at_work(stage):
        stage.prepare(state)
        source = bring(stage, state) if stage.inputs else stage.work(state, state.run.path) or ""
        stage.take(state, source)
    return source


def bring(stage: Stage, state: State) -> str:
    """Put a stage's files into the run, from the cache or made now; return where they came from."""
    key = state.keys[stage.name] = stage.key(state)
    return cached(
        state.group,
        state.folder,
        stage.name,
        key,
        state.run,
        partial(_written, stage, state),
        together=stage.together,
        report=state.report,
        found=_found(stage, state),
    )


def _found(stage: Stage, state: State) -> stage_files.Found | None:
    return partial(stage.found, state) if stage.found else None


def _written(stage: Stage, state: State, folder: Path) -> None:
    stage.work(state, folder)


@contextlib.contextmanager
def _all_threads(group: Group) -> Iterator[None]:
    """Within this context the main process computes with everybody's threads: the others wait."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(threads * group.size)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def cached(
    group: Group,
    folder: Path,
    stage: str,
    key: str,
    run: Run,
    produce: Callable[[Path], None],
    *,
    together: bool,
    report: Reporter | None = None,
    found: stage_files.Found | None = None,
) -> str:
    """Do what stage_files.cached does with a whole group: the main process looks and writes, all make what must be made.

    together: False where the main process makes it alone while the others wait. Every process's run gets its files.
    """
    if group.size == 1:
        return stage_files.cached(folder, stage, key, run, produce, report, found)
    # With different keys one would wait for ever in a sum that the others never enter.
    if len(set(group.all_gather(key))) > 1:
        raise UserError(f"The processes of this run do not agree before the stage {stage}.", "Report this as a bug.")
    if not group.is_main:
        if group.broadcast(False):
            scratch = run.path / f".{stage}"  # nobody reads it: the main process's files are the stage
            scratch.mkdir()
            produce(scratch)
        source = group.broadcast("")
        stage_files.bring(folder, stage, key, run)
        return source
    announced: list[bool] = []

    def make(target: Path) -> None:
        announced.append(group.broadcast(together))
        with contextlib.nullcontext() if together else _all_threads(group):
            produce(target)

    source = stage_files.cached(folder, stage, key, run, make, report, found)
    # It was there, so nothing was made: the others still wait to hear that.
    if not announced:
        group.broadcast(False)
    return group.broadcast(source)


def bring_made(stage: Stage, state: State) -> bool:
    """Put a stage's files into the run if they were made before; say whether they were."""

    def absent(_: Path) -> None:
        raise _Absent

    key = state.keys[stage.name] = stage.key(state)
    try:
        return bool(stage_files.cached(state.folder, stage.name, key, state.run, absent, found=_found(stage, state)))
    except _Absent:
        return False


class _Absent(Exception):
    """No earlier run has computed the stage."""


def timed(name: str, run: Run, report: Reporter, work: Callable[[], str]) -> dict[str, Any]:
    """Do something under a stage's name, told as that; return its entry in the manifest, still without a key.

    work: returns where the result came from. Raises UserError for what the disk refuses. Peaks are those since the stage
    before ended; the first stage's are also those of loading.
    """
    started = time.monotonic()
    report.stage(name, "running")
    try:
        source = work()
    except OSError as error:
        raise failure_sentences.disk_error(run.path, error) from error
    seconds = time.monotonic() - started
    most = peaks()
    forget_peak_memory()
    report.stage(name, "reused" if source else "done", seconds=seconds, source=source, **most)
    return {"key": None, "seconds": round(seconds, 2), "reused": bool(source), "source": source, **most}
