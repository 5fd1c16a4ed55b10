"""Settings of a training in a TOML file; a key that is not known is refused by name."""

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from leadlight.errors import LeadlightError
from leadlight.latent.settings import LatentSettings


def read_recipe(path: Path | None = None) -> LatentSettings:
    """Settings from a TOML file with the keys of `LatentSettings`; the defaults where None.

    Tables are `[architecture]`, `[objective]`, `[augmentation]`, `[fit]` and `[rule]`; what a table
    does not name keeps its default.

    Raises:
        LeadlightError: the file cannot be read, or a key is unknown or impossible.
    """
    if path is None:
        return LatentSettings()
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LeadlightError(f"The recipe {path} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LeadlightError(f"The recipe {path} is not valid TOML: {error}.") from error
    return settings_from_tables(tables, str(path))


def settings_from_tables(tables: dict[str, Any], source: str) -> LatentSettings:
    """Settings from TOML tables over the defaults; `source` is named in errors."""
    defaults = TypeAdapter(LatentSettings).dump_python(LatentSettings(), mode="json")
    merged = {
        **defaults,
        **{
            key: {**defaults[key], **value}
            if isinstance(value, dict) and isinstance(defaults.get(key), dict)
            else value
            for key, value in tables.items()
        },
    }
    try:
        return TypeAdapter(LatentSettings).validate_python(merged)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors()
        )
        raise LeadlightError(f"The recipe {source} does not hold: {faults}.") from error


def with_changes(
    settings: LatentSettings,
    *,
    weights: Sequence[float] | None = None,
    epochs: int | None = None,
    beta: float | None = None,
    seed: int | None = None,
) -> LatentSettings:
    """The settings with what is not None in place of theirs."""
    if weights:
        settings = replace(settings, study_weights=tuple(weights))
    if epochs is not None:
        settings = replace(settings, fit=replace(settings.fit, epochs=epochs))
    if beta is not None:
        settings = replace(settings, objective=replace(settings.objective, beta=beta))
    if seed is not None:
        settings = replace(settings, seed=seed)
    return settings
