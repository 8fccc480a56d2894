"""What a pipeline's cached stages depend on: the key of each is a hash of exactly that."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.models.placement import with_bitsandbytes
from core.models.tokens import DAY, TODAY, end_of_answer
from core.pipeline.stage_cache import cached
from core.pipeline.state import State

CODE = {"teach": 1, "preflight": 2, "localize": 3, "widen": 2, "unlearn": 4, "answers": 2, "evaluate": 4}
"""Raised whenever a stage computes or writes something else than before: it makes old cache entries unreachable."""

SAMPLED = "draws by question"
"""what stages with sampled answers depend on besides; greedy ones are the same however others are drawn"""


class Keys(State):
    """The part of a pipeline that makes keys, and takes from the cache what lies there under one."""

    def teach_key(self, *also: str) -> str:
        """Return the key of the teach stage, or of another teaching with the same settings."""
        c = {"class": "TeachConfig", **asdict(self.config.teach)}
        for name in ("merge", "from_run"):  # they decide what is done with the adapter afterwards
            del c[name]
        return self._key("teach", self.whole.fingerprint(), self.config.data.max_tokens, c, *also)

    def localize_key(self) -> str:
        """Return the key of the localize stage; adapter "before" must be there."""
        d, c = self.config.data, {"class": "LocalizeConfig", **asdict(self.config.localize)}
        if not c["seed_offset"]:
            del c["seed_offset"]
        return self._key("localize", self.adapters.hash("before"), self.corpus.fingerprint(), c, d.max_tokens)

    def widened_key(self) -> str:
        """Return the key of the widened questions; adapter "before" must be there."""
        d, size = self.config.data, self.config.answers.batch_size
        return self._key("widen", self.adapters.hash("before"), self.corpus.fingerprint(), d.widen, d.max_tokens, size)

    def _key(self, stage: str, *parts: Any) -> str:
        """Return the key of a stage: what every stage depends on, and what this one does besides."""
        weights: Any = self.loaded.files or str(self.loaded.folder)
        if stage != "teach" and self.taught and self.config.teach.merge:
            weights = [weights, self.keys["teach"], "merged"]
        # Sums over several processes are not the same bits as those of one.
        also: list[Any] = [self.group.size] if self.group.size > 1 else []
        if self.config.model.weights != "full":
            also.append([self.config.model.weights, with_bitsandbytes(self.config.model, self.loaded.model.device.type)])
        if self.loaded.name != "bundled":  # its tokenizer comes with its weights
            also.append(self.loaded.reading)
        tokenizer, template = self.loaded.tokenizer, self.config.model.template
        if (end := end_of_answer(tokenizer, template)) != tokenizer.eos_token_id:
            also.append(["end", end])
        if template == "chat" and TODAY.search(str(tokenizer.chat_template)):
            also.append(["day", str(DAY)])
        if self.loaded.model.device.type != "cpu":  # it computes other bits than this machine's processor
            also.append(self.loaded.model.device.type)
        if stage != "teach" and not self.taught:  # what was taught has the settings of the teach stage
            also.append(self._scales())
        return digest([CODE[stage], weights, self.dtype, self.config.model.template, self.config.seed, *also], *parts)

    def _cached(self, stage: str, key: str, produce: Callable[[Path], None], *, together: bool = True) -> str:
        """Bring a stage's files into the run, from the cache or made now: by all processes or the main one alone."""
        self.keys[stage] = key
        return cached(self.group, self.folder, stage, key, self.run, produce, together=together, check=self.report.check)

    def _scales(self) -> Any:
        """Return what B·A is multiplied by: it is in no tensor, so no hash of an adapter knows it."""
        if not self.loaded.adapter:
            return self.config.teach.alpha
        config = json.loads((self.loaded.adapter / "adapter_config.json").read_text(encoding="utf-8"))
        return {name: config.get(name) for name in ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora")}

    def _scored(self) -> dict[str, Any]:
        """Return what scores depend on, as it enters keys: not the splits, since before and never are scored on all."""
        values = {"class": "EvaluateConfig", **asdict(self.config.evaluate)}
        return {name: value for name, value in values.items() if name != "splits"}


def digest(*parts: Any) -> str:
    """Return a short hash of plain values and dataclasses; the key of a cached stage."""
    plain = [{"class": type(p).__name__, **asdict(p)} if dataclasses.is_dataclass(p) else p for p in parts]  # type: ignore[arg-type]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:20]
