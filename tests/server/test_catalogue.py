from __future__ import annotations

import threading
from typing import Any

import pytest

from dpenet.errors import ModelError, UsageError
from dpenet.inference.pipeline import Stopped, stoppable
from dpenet.server import catalogue
from dpenet.server.catalogue import Key, Models
from dpenet.server.settings import Settings
from dpenet.zoo.store import import_file, locate

NANO = "universal-nano"


def key(name: str) -> Key:
    return Key(name, "fp32", 2)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that were opened; nothing is compiled."""
    names: list[str] = []

    def fake(self: Models, key: Key) -> Any:
        names.append(key.model)
        if key.model == "broken":
            raise ModelError("it is damaged")
        return object()

    monkeypatch.setattr(Models, "_open", fake)
    return names


def use(models: Models, *names: str) -> None:
    for name in names:
        with models.lease(key(name)):
            pass


def test_a_model_is_loaded_once_and_the_least_used_goes(opened: list[str]) -> None:
    models = Models(Settings(loaded_models=2))
    use(models, "a", "b", "a", "c", "a", "b")
    assert opened == ["a", "b", "c", "b"]
    assert len(models) == 2


def test_what_is_in_use_stays_and_the_next_waits(opened: list[str]) -> None:
    models = Models(Settings(loaded_models=1))
    began = threading.Event()

    def wait() -> None:
        began.set()
        use(models, "b")

    waiting = threading.Thread(target=wait)
    with models.lease(key("a")):
        waiting.start()
        assert began.wait(30)
        waiting.join(0.3)
        assert waiting.is_alive()
        assert opened == ["a"]
    waiting.join(30)
    assert opened == ["a", "b"]


def test_who_waits_for_a_model_in_vain_is_stopped(opened: list[str]) -> None:
    models, stop = Models(Settings(loaded_models=1)), threading.Event()
    ended: list[type[BaseException]] = []

    def wait() -> None:
        with stoppable(stop):
            try:
                use(models, "b")
            except Stopped as stopped:
                ended.append(type(stopped))

    waiting = threading.Thread(target=wait)
    with models.lease(key("a")):
        waiting.start()
        stop.set()
        waiting.join(30)
        assert ended == [Stopped]
    assert opened == ["a"]


def test_several_at_once_load_it_once(opened: list[str]) -> None:
    models = Models(Settings())
    threads = [threading.Thread(target=use, args=(models, "a")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert opened == ["a"]


def test_one_that_cannot_be_loaded_takes_no_room(opened: list[str]) -> None:
    models = Models(Settings(loaded_models=1))
    for _ in range(2):
        with pytest.raises(ModelError):
            use(models, "broken")
    assert len(models) == 0
    use(models, "a")


def test_the_offer_is_what_is_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("DPENET_HOME", str(tmp_path))
    import_file(locate(NANO), "mine")
    offer = catalogue.survey(Settings(model=NANO))
    assert [one.name for one in offer.models] == [NANO, "universal", "universal-light", "mine"]
    nano, *_, mine = offer.models
    assert nano.default and not mine.default
    assert {"fp32", "int8"} <= set(nano.precisions)
    assert nano.default_precision in nano.precisions
    assert (mine.state, mine.licence, mine.scores) == ("imported", None, ())
    only = catalogue.survey(Settings(model=NANO, offered=("mine",)))
    assert [one.name for one in only.models] == [NANO, "mine"]


@pytest.mark.parametrize("name", ["nothing", "rain100h", "/etc/passwd", "x.safetensors"])
def test_a_default_that_is_not_here_is_an_error(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("DPENET_HOME", str(tmp_path))
    with pytest.raises(ModelError):
        catalogue.survey(Settings(model=name))


def test_a_device_that_is_not_here_is_an_error() -> None:
    with pytest.raises(UsageError, match="device"):
        catalogue.survey(Settings(model=NANO, device="npu7"))
