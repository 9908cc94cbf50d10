from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpenet.media import view
from dpenet.media.view import View

PLACES = st.none() | st.integers(-30, 30)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=25), start=PLACES, stop=PLACES, wanted=st.binary(max_size=3))
def test_a_file_is_looked_at_as_bytes_are(
    tmp_path: Path, content: bytes, start: int | None, stop: int | None, wanted: bytes
) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch, View(path) as file:
        patch.setattr(view, "_CHUNK", 4)
        assert len(file) == len(content)
        assert file[start:stop] == content[start:stop]
        if wanted:
            assert file.find(wanted, start or 0, stop) == content.find(wanted, start, stop)
        for at in range(len(content)):
            assert file[at] == content[at]
        with pytest.raises(IndexError):
            file[len(content)]
