from __future__ import annotations

import os
from pathlib import Path

import pytest

from dpenet.atomic import atomic_path


def test_the_target_appears_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "street.derained.jpg"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"whole")
        assert not target.exists()
        assert temporary.parent == target.parent
        assert temporary.suffix == ".jpg"
        assert temporary.name.startswith(".")
    assert target.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, failure: type[BaseException]
) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"old")
    with pytest.raises(failure), atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise failure
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_writer_that_makes_its_own_file_anew_is_fine(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    with atomic_path(target) as temporary:
        temporary.unlink()
        temporary.write_bytes(b"anew")
    assert target.read_bytes() == b"anew"


def test_two_writers_of_one_target_do_not_meet(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    with atomic_path(target) as first, atomic_path(target) as second:
        assert first != second
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert target.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [target]


def test_a_missing_folder_is_the_callers_to_explain(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "none" / "a.png"):
        pass


def test_long_names_stay_possible(tmp_path: Path) -> None:
    target = tmp_path / ("é" * 120 + ".png")
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"x")
    assert target.exists()


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
def test_modes_follow_the_umask_and_a_replaced_file(tmp_path: Path) -> None:
    target, ordinary = tmp_path / "a.png", tmp_path / "ordinary"
    ordinary.touch()
    with atomic_path(target):
        pass
    assert target.stat().st_mode == ordinary.stat().st_mode
    target.chmod(0o400)
    with atomic_path(target):
        pass
    assert target.stat().st_mode & 0o777 == 0o400
