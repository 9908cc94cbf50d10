from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from dpenet.errors import UsageError
from dpenet.inference.options import Options, Tuning


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", ""),
        ("model", None),
        ("precision", "int4"),
        ("precision", None),
        ("device", ""),
        ("threads", 0),
        ("threads", -1),
        ("threads", 1.5),
        ("threads", True),
        ("tile", -1),
        ("tile", "auto"),
        ("tile", False),
        ("memory", 0),
        ("memory", -1),
        ("memory", True),
        ("memory", 1.5),
        ("memory", ""),
        ("memory", "much"),
        ("memory", "2 bananas"),
        ("memory", "-2GB"),
        ("memory", "0.1B"),
        ("memory", "٣GB"),
        ("stage", 0),
        ("stage", 3),
        ("stage", True),
        ("stage", "2"),
        ("strength", -0.1),
        ("strength", 1.1),
        ("strength", float("nan")),
        ("strength", "1"),
        ("strength", True),
    ],
)
def test_a_wrong_value_is_refused_and_named(field: str, value: Any) -> None:
    with pytest.raises(UsageError, match=field) as caught:
        Options(**{field: value})
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("threads", 1), ("tile", 0), ("tile", 1), ("stage", 1), ("strength", 0), ("strength", 0.5)],
)
def test_the_ends_of_each_range_are_accepted(field: str, value: Any) -> None:
    assert getattr(Options(**{field: value}), field) == value


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GB", 2 * 10**9),
        ("500MB", 5 * 10**8),
        ("1.5GiB", 3 * 2**29),
        ("1.5 gib", 3 * 2**29),
        (" 2g ", 2 * 10**9),
        ("64k", 64_000),
        ("1T", 10**12),
        ("1000000", 10**6),
        (12345, 12345),
        (None, None),
    ],
)
def test_memory_is_bytes_or_text(text: int | str | None, size: int | None) -> None:
    assert Options(memory=text).memory == size
    assert Options(memory=text) == Options(memory=size)


def test_options_are_a_key_and_do_not_change() -> None:
    assert {Options(): 1}[Options(strength=1)] == 1
    with pytest.raises(FrozenInstanceError):
        Options().stage = 1  # type: ignore[misc]


def test_the_typed_keywords_are_the_fields() -> None:
    assert ["model", *Tuning.__annotations__] == [field.name for field in fields(Options)]
