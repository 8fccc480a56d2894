"""What a second voice costs in memory: a process that holds and asks both, beside one that holds and asks before alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from core.config.stages import AnswersConfig
from core.models.generate import Request, generate
from core.models.tokens import prompt_ids
from core.util.process import environment
from core.util.progress import peak_memory_mb
from tests.bench.setup import prepare

ADAPTERS = {"one": ("before",), "both": ("before", "after")}
"""what a process holds -> the voices it asks"""


def memory() -> dict[str, float]:
    """Peak memory of a process that holds and asks before and after, over one that holds and asks before alone."""
    peaks = []
    # glibc's large heap would hide what is used; both sides run with its defaults.
    plain = {key: value for key, value in environment().items() if not key.startswith("MALLOC_")}
    for which in ADAPTERS:
        command = [sys.executable, "-m", "tests.bench.memory", which]
        done = subprocess.run(command, env=plain, stdout=subprocess.PIPE, text=True, check=True)
        peaks.append(float(done.stdout.splitlines()[-1]))
    return {
        "memory_ratio": round(peaks[1] / peaks[0], 3),
        "memory_one_mb": round(peaks[0]),
        "memory_both_mb": round(peaks[1]),
    }


def ask_and_report(adapters: Sequence[str]) -> None:
    """Ask 8 questions of each adapter and print this process's peak memory in MB."""
    bench = prepare()
    if "after" in adapters:
        bench.adapters.copy("before", "after")
    prompts = [tuple(prompt_ids(bench.tokenizer, "plain", question)) for question in bench.questions[:8]]
    requests = [Request(prompt, adapter) for prompt in prompts for adapter in adapters]
    generate(bench.adapters, requests, AnswersConfig(max_new_tokens=16), ends=(), pad=bench.pad)
    sys.stdout.write(f"{peak_memory_mb()}\n")


if __name__ == "__main__":
    ask_and_report(ADAPTERS[sys.argv[1]])
