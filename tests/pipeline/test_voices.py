"""What the voices of a run say of how far they are."""

from __future__ import annotations

from pathlib import Path

from core.config.run_config import preset
from core.config.stages import ModelConfig
from core.data.corpus import Example
from core.models import adapters, loading
from core.pipeline.voices import Voices
from tests.naive import Recorder


def test_scoring_reports_once_a_batch(tiny_llama: Path) -> None:
    """The time left after the first example of a batch would be that of a whole batch for each example."""
    loaded, report = loading.load(ModelConfig(name=str(tiny_llama), device="cpu", dtype="float32")), Recorder()
    attached = adapters.attach(loaded.model, "float32", rank=2, alpha=4.0, dropout=0.0, seed=0)
    examples = [Example(f"unlearn/train/{n}", "Where?", f"Place {n}.", "unlearn", "train", "Ann") for n in range(3)]
    config = preset("this-machine").with_setting("evaluate.batch_size", 2)
    Voices(loaded, examples, config, report).score(attached, ["before", "never"])
    assert [step["done"] for step in report.steps] == [2, 3, 5, 6]


def test_a_line_of_general_text_ends_where_the_model_can_read_no_further(tiny_llama: Path) -> None:
    loaded = loading.load(ModelConfig(name=str(tiny_llama), device="cpu", dtype="float32"))
    whole = Voices(loaded, [], preset("this-machine"), Recorder()).general_encoded()
    loaded.model.config.max_position_embeddings = 100
    lines = Voices(loaded, [], preset("this-machine"), Recorder()).general_encoded()
    assert max(len(line.ids) for line in whole) > 100
    assert [line.ids for line in lines] == [line.ids[:100] for line in whole]
