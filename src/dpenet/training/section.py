"""What the sections of a recipe have in common: no key goes unnoticed."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """A part of a recipe. An unknown key is an error that names the nearest valid one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _know_every_key(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for key in values:
                if key not in cls.model_fields:
                    nearest = get_close_matches(str(key), cls.model_fields, n=1, cutoff=0)
                    raise PydanticCustomError(
                        "unknown_key",
                        "no key '{key}' here; did you mean '{nearest}'? (there are: {known})",
                        {
                            "key": str(key),
                            "nearest": nearest[0],
                            "known": ", ".join(cls.model_fields),
                        },
                    )
        return values
