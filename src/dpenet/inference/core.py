"""OpenVINO's core: one, for as long as the process lives."""

from __future__ import annotations

import threading
from typing import Any

_core: Any = None
_lock = threading.Lock()


def openvino_core() -> Any:
    """The ``openvino.Core`` that everything shares.

    The plugin for the processor gives the thread that loads it another stack for signals, and puts
    the former one back when its core goes. With two cores, of which the first goes first, what is
    put back is gone: the next signal that Python handles ends the process.
    """
    global _core
    with _lock:
        if _core is None:
            import openvino

            _core = openvino.Core()
        return _core
