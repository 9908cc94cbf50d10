from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from dpenet.inference.core import openvino_core

ENGINES_COME_AND_GO = """
import gc, os, signal, sys
from dpenet.inference.engines import open_engine
from dpenet.inference.options import Options
from dpenet.zoo import load_weights

weights, options = load_weights("universal-nano"), Options(precision="fp32")
first, second = open_engine(weights, options), open_engine(weights, options)
del first
gc.collect()
del second
gc.collect()
seen = []
signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
os.kill(os.getpid(), signal.SIGTERM)
assert seen == [signal.SIGTERM]
"""


def test_there_is_one() -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(map(id, pool.map(lambda _: openvino_core(), range(32))))) == 1


def test_signals_are_handled_after_engines_have_gone() -> None:
    # In a process of its own, which a signal without a valid stack would end.
    subprocess.run([sys.executable, "-c", ENGINES_COME_AND_GO], check=True)
