"""The base of every section of the settings file.

Invariant: types are strict, unknown keys are refused, nothing changes, and no value contains a secret key.
Neighbours: `model`, `source_sections` and `source_kinds` define the sections.
"""

from collections.abc import Callable
from typing import Any

import pydantic

from worker.core.model.secret import KEY_PREFIX


def accepted_by(parse: Callable[[str], object]) -> pydantic.AfterValidator:
    """Return what refuses a text for which `parse` raises ValueError, and keeps any other as it is written."""

    def keep(text: str) -> str:
        parse(text)
        return text

    return pydantic.AfterValidator(keep)


class Section(pydantic.BaseModel):
    """A section: strict types, no unknown keys, immutable, and without a secret key in any value."""

    model_config = pydantic.ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    @pydantic.field_validator("*")
    @classmethod
    def _no_secret_key(cls, setting: Any) -> Any:
        texts = setting if isinstance(setting, tuple | list) else (setting,)
        if any(isinstance(text, str) and KEY_PREFIX in text for text in texts):
            raise ValueError(
                "the settings never contain a secret key: set CHARGE_API_KEY, or write the key to a file and its path "
                "in charge.api_key_file"
            )
        return setting
