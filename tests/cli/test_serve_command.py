from __future__ import annotations

import sys
from typing import Any

import pytest

from dpenet.cli.app import main
from dpenet.server import run as running
from dpenet.server.settings import Settings


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What the service was started with."""
    found: list[Settings] = []
    monkeypatch.setattr(running, "serve", found.append)
    return found


def serve(*arguments: str) -> Any:
    with pytest.raises(SystemExit) as stop:
        main(["serve", *arguments])
    return stop.value.code


def test_options_win_over_the_environment(
    served: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DPENET_SERVER_PORT", "9000")
    monkeypatch.setenv("DPENET_SERVER_HOST", "::1")
    assert serve("--port", "9001", "-m", "universal-nano", "--memory", "2GB") in (0, None)
    (settings,) = served
    assert (settings.host, settings.port, settings.model) == ("::1", 9001, "universal-nano")
    assert settings.memory == 2_000_000_000


def test_a_setting_that_cannot_be_is_one_line(
    served: list[Settings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DPENET_SERVER_PLACES", "none")
    assert serve() == 2
    assert capsys.readouterr().err.startswith("dpenet: DPENET_SERVER_PLACES: Input should be")
    assert not served


def test_without_the_extra_it_says_which(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "dpenet.server.run", None)
    assert serve() == 1
    assert "pip install 'dpenet[server]'" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["-m", "nothing"], ["--device", "npu7"]])
def test_what_is_not_here_ends_it_at_once(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve(*wrong) in (1, 2)
    assert wrong[1] in capsys.readouterr().err
