"""Put first on PYTHONPATH of processes under libfaketime, which fails on `time.sleep` when only the date is wrong.

Python sleeps by an absolute time of the monotonic clock, which libfaketime takes for one of the clock that it moves.
"""

import select
import time


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = _sleep
