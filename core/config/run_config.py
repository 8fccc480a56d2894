"""What a run is: the settings of all stages (core/config/stages.py), JSON in and out, every value checked.

Importing this file costs no heavy library.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from core.config import published
from core.config.presets import PRESETS
from core.config.stages import (
    AnswersConfig,
    AuditConfig,
    DataConfig,
    EvaluateConfig,
    LocalizeConfig,
    ModelConfig,
    PreflightConfig,
    TeachConfig,
    UnlearnConfig,
)
from core.methods import METHODS, Method
from core.methods.own import OwnMethod
from core.regions import REGIONS, Located, Region
from core.settings import converted, setting
from core.util.errors import UserError, unknown

FORMAT = 1
"""Version of everything a run writes; a reader refuses a higher one."""

FAMILIES: dict[type, tuple[str, dict[str, type]]] = {
    Method: ("method", METHODS),
    Region: ("region rule", REGIONS),
}


@dataclass(frozen=True)
class RunConfig:
    """One run, whole. Stage order: teach, preflight, localize, region, unlearn, answers, evaluate."""

    name: str = setting("", "shown in lists; made from model, data and method if empty")
    preset: str = setting("this-machine", "where the defaults came from")
    seed: int = setting(0, "makes the run repeatable to the bit on one machine", low=0, high=2**31 - 1)
    processes: int = setting(
        1,
        "processes of this machine that share the run's examples, each with a model of its own (and a GPU of its own)",
        low=1,
        high=64,
    )
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    teach: TeachConfig = field(default_factory=TeachConfig)
    preflight: PreflightConfig = field(default_factory=PreflightConfig)
    localize: LocalizeConfig = field(default_factory=LocalizeConfig)
    region: Region = field(default_factory=Located)
    unlearn: UnlearnConfig = field(default_factory=UnlearnConfig)
    answers: AnswersConfig = field(default_factory=AnswersConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)

    def with_setting(self, path: str, value: Any) -> RunConfig:
        """Return a copy with `stage.key` set; text is converted to the field's type.

        A key that `unlearn` lacks is looked up among the settings of its method.
        Raises UserError for unknown names (with the nearest right one) and values out of range.
        """
        head, _, rest = path.partition(".")
        if head not in _fields(self):
            raise unknown("stage or setting", path, _fields(self))
        stage = getattr(self, head)
        if not rest:
            if dataclasses.is_dataclass(stage) and not isinstance(stage, tuple(FAMILIES)):
                raise UserError(f"“{head}” is a stage, not a setting.", f"Set one of its keys: {', '.join(_fields(stage))}.")
            return _replace(self, head, _convert(self, head, value))
        if not dataclasses.is_dataclass(stage):
            raise UserError(f"“{head}” has no settings below it.", f"Set it as --set {head}=value.")
        if isinstance(stage, UnlearnConfig) and rest not in _fields(stage):
            rest = rest.removeprefix("method.")
            if isinstance(stage.method, OwnMethod):  # its class is known to the worker only
                own = stage.method.with_setting(rest, value)
                return _replace(self, head, _replace(stage, "method", own))
            if rest not in _fields(stage.method):
                raise unknown("setting of unlearn", rest, [*_fields(stage), *_fields(stage.method)])
            changed: Any = _replace(stage.method, rest, _convert(stage.method, rest, value))
            return _replace(self, head, _replace(stage, "method", changed))
        if rest not in _fields(stage):
            raise unknown(f"setting of {head}", rest, _fields(stage))
        return _replace(self, head, _replace(stage, rest, _convert(stage, rest, value)))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; members of a family carry their name."""
        return {"format": FORMAT, **_plain(self)}

    def save(self, path: Path) -> None:
        """Write as indented JSON."""
        path.write_text(json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def preset(name: str) -> RunConfig:
    """Return the configuration of a preset. Raises UserError for an unknown name."""
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    config = RunConfig(preset=name)
    for path, value in PRESETS[name].items():
        config = config.with_setting(path, value)
    return config


def with_method(config: RunConfig, method: Any) -> RunConfig:
    """Return a copy with another method. A baseline of the paper brings its settings where the preset is the paper's."""
    if method != config.unlearn.method.name:
        for path, value in published.for_method(config.preset, str(method)).items():
            config = config.with_setting(path, value)
    return config.with_setting("unlearn.method", method)


def from_json(values: dict[str, Any]) -> RunConfig:
    """Build a configuration from what `to_json` gave; missing keys take their defaults.

    Raises UserError for unknown keys, wrong types, values out of range and a newer format.
    """
    if not isinstance(values, dict):
        raise UserError("A configuration must be a JSON object.", "Take one from `python -m core show RUN --json`.")
    version = values.get("format", FORMAT)
    if not isinstance(version, int) or version > FORMAT:
        raise UserError(f"This configuration has format {version}, newer than this Forgetscope ({FORMAT}).", "Update it.")
    return _build(RunConfig, {key: value for key, value in values.items() if key != "format"}, "configuration")


def load(path: Path) -> RunConfig:
    """Read a configuration file. Raises UserError where it cannot be read."""
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"The file {path} does not exist.", "Give the path of a JSON configuration.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a readable JSON file ({error}).", "Repair it or start without --config.") from None


def describe(settings: Any) -> list[dict[str, Any]]:
    """List a dataclass's settings for a form: name, value, default, and the metadata of each."""
    fresh = type(settings)()
    return [
        {"name": f.name, "value": getattr(settings, f.name), "default": getattr(fresh, f.name), **f.metadata}
        for f in dataclasses.fields(settings)
        if "help" in f.metadata and not dataclasses.is_dataclass(getattr(settings, f.name))
    ]


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """Return a dataclass's types; working them out anew costs more than all the rest of reading a configuration."""
    return get_type_hints(kind)


def _fields(owner: Any) -> Mapping[str, dataclasses.Field[Any]]:
    return _fields_of(owner if isinstance(owner, type) else type(owner))


@functools.cache
def _fields_of(kind: type) -> Mapping[str, dataclasses.Field[Any]]:
    return {f.name: f for f in dataclasses.fields(kind)}


def _replace(owner: Any, key: str, value: Any) -> Any:
    return dataclasses.replace(owner, **{key: value})


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        inner = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        name = getattr(type(value), "name", None) if isinstance(value, tuple(FAMILIES)) else None
        return {"name": name, **inner} if name else inner
    return list(value) if isinstance(value, tuple) else value


def built(kind: type, values: dict[str, Any], where: str) -> Any:
    """Build a dataclass from plain values, each converted and checked. Raises UserError that names `where`."""
    return _build(kind, values, where)


def _build(kind: type, values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise UserError(f"“{where}” must be a JSON object, not {values!r}.", "See `python -m core show RUN --json`.")
    hints, kwargs = _hints(kind), {}
    fields = _fields(kind)
    template = kind()
    for key, value in values.items():
        if key not in fields:
            raise unknown(f"setting of {where}", key, fields)
        hint = hints[key]
        if hint in FAMILIES or (dataclasses.is_dataclass(hint) and isinstance(hint, type)):
            kwargs[key] = _member(hint, value) if hint in FAMILIES else _build(hint, value, key)
        else:
            kwargs[key] = _convert(template, key, value)
    return kind(**kwargs)


def _member(base: type, value: Any) -> Any:
    kind, family = FAMILIES[base]
    if not isinstance(value, str | dict):
        raise UserError(f"The {kind} cannot be {value!r}.", "Give its name, or an object with its name and settings.")
    values = {"name": value} if isinstance(value, str) else dict(value)
    name = str(values.pop("name", ""))
    if base is Method and name == OwnMethod.name:
        return _build(OwnMethod, values, name)
    if name not in family:
        raise unknown(kind, name, family)
    return _build(family[name], values, name)


def _convert(owner: Any, key: str, value: Any) -> Any:
    """Convert and check one value against its field's type and metadata."""
    kind: Any = type(owner)
    hint = _hints(kind)[key]
    if hint in FAMILIES:
        current = getattr(owner, key)
        if value == current.name:  # asked for by name, it keeps the settings that a preset or a file gave it
            return current
        return value if isinstance(value, hint) else _member(hint, value)
    return converted(_fields(owner)[key], hint, value)


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested settings into dotted names."""
    dotted: dict[str, Any] = {}
    for key, inner in value.items():
        dotted |= flat(inner, f"{prefix}{key}.") if isinstance(inner, dict) else {f"{prefix}{key}": inner}
    return dotted


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the settings in which configurations differ: dotted name -> a value for each, None where one has no such."""
    settings = [flat(config) for config in configs]
    keys = sorted({key for values in settings for key in values})
    return {
        key: [values.get(key) for values in settings]
        for key in keys
        if len({repr(values.get(key)) for values in settings}) > 1
    }
