from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from dpenet.server.settings import PREFIX, Settings

DOCS = Path(__file__).resolve().parents[2] / "docs" / "server.md"


def test_by_default_only_this_machine_can_reach_it() -> None:
    settings = Settings()
    assert settings.host == "127.0.0.1"
    assert settings.is_local
    assert "127.0.0.1" in settings.hosts and "example.org" not in settings.hosts
    assert not settings.cors_origins
    assert not settings.trusted_proxies


def test_open_to_others_it_answers_under_any_name_unless_told() -> None:
    assert Settings(host="0.0.0.0").hosts == ()
    assert Settings(host="0.0.0.0", allowed_hosts=("rain.example",)).hosts == ("rain.example",)


def test_the_environment_sets_what_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPENET_SERVER_MAX_BYTES", "5MB")
    monkeypatch.setenv("DPENET_SERVER_CORS_ORIGINS", '["https://example.org"]')
    monkeypatch.setenv("DPENET_SERVER_CLIP_FOLDER", "null")
    monkeypatch.setenv("DPENET_SERVER_PORT", "9000")
    settings = Settings(port=9001)
    assert settings.max_bytes == 5_000_000
    assert settings.cors_origins == ("https://example.org",)
    assert not settings.serves_clips
    assert settings.port == 9001


@pytest.mark.parametrize(
    "wrong",
    [
        {"token": "hunter2"},
        {"port": 70000},
        {"max_bytes": 0},
        {"max_pixels": -1},
        {"seconds": 0},
        {"seconds": float("inf")},
        {"workers": 0},
        {"log_level": "loud"},
        {"nonsense": 1},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(**wrong)  # type: ignore[arg-type]
    assert "hunter2" not in str(refused.value)  # a token that is wrong is no less secret


def test_the_token_shows_nowhere() -> None:
    settings = Settings(token="a-very-secret-token")  # type: ignore[arg-type]
    assert "a-very-secret-token" not in repr(settings) + str(settings.model_dump())


def test_the_table_in_the_documentation_is_that_of_the_code() -> None:
    for name, field in Settings.model_fields.items():
        row = f"| `{PREFIX}{name.upper()}` |"
        (line,) = [line for line in DOCS.read_text().splitlines() if line.startswith(row)]
        assert field.description and " ".join(field.description.split()) in line
