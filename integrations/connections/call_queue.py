"""Calls that wait to be sent, by lane: a host that is slow or full keeps nobody else's calls waiting.

Two bounds hold for a call before it is sent. Its host's cap counts over all worker processes (`call_slots`). Within
this process nobody gets more threads than are left free: one slow party alone has half of them, two have a third each,
three a quarter, and there is always one for whoever comes next. What waits long for a slow party goes back to the
database, so that the claims that follow reach the rows behind it.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import takewhile
from typing import NamedTuple

from integrations.connections.call_slots import CallSlots, Lane, lane_of
from integrations.connections.lease import Lease
from integrations.connections.renewal import Job

# A call that has waited or been under way for this long is slow, and so is the lane that it waits in.
SLOW_AFTER_SECONDS = 5.0


class CallQueue:
    """Jobs in the order in which they came, but for those whose lane is full. Used by one thread."""

    def __init__(self, slots: CallSlots, threads: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._slots = slots
        self._threads = threads
        self._monotonic = monotonic
        self._waiting: dict[Lane, deque[_Waiting]] = {}
        self._under_way: dict[Lease, float] = {}  # since when, oldest first
        self._in_use: Counter[str] = Counter()  # by party
        self._stopped: dict[Lease, Lane] = {}  # lane whose next calls wait for what its failure means

    def __len__(self) -> int:
        return sum(len(jobs) for jobs in self._waiting.values())

    @property
    def busy(self) -> int:
        """Calls that wait or are under way, without slow ones: those keep no claim from being made."""
        slow_since = self._monotonic() - SLOW_AFTER_SECONDS
        slow_calls = sum(1 for _ in takewhile(lambda sent: sent <= slow_since, self._under_way.values()))
        waiting = sum(len(jobs) for jobs in self._waiting.values() if jobs[0].since > slow_since)
        return waiting + len(self._under_way) - slow_calls

    def put(self, job: Job) -> None:
        """Let a job wait for its turn."""
        lane = lane_of(job)
        self._waiting.setdefault(lane, deque()).append(_Waiting(self._monotonic(), job))
        self._slots.expect(lane)

    def ready(self) -> Iterator[Job]:
        """Jobs that may be sent now, each with a slot that `done` gives back; lanes take turns."""
        self._slots.reserve()
        stopped = set(self._stopped.values())
        lanes = deque(self._waiting)
        while lanes:
            lane = lanes.popleft()
            if lane in stopped:
                continue
            if self._in_use[lane.party] >= self._threads - len(self._under_way) or not self._slots.take(lane):
                continue
            job = self._waiting[lane].popleft().job
            self._in_use[lane.party] += 1
            self._under_way[job.lease] = self._monotonic()
            if self._waiting[lane]:
                lanes.append(lane)
            else:
                del self._waiting[lane]
            yield job

    def done(self, job: Job) -> None:
        """A call is over."""
        lane = lane_of(job)
        self._slots.give_back(lane)
        del self._under_way[job.lease]
        self._in_use[lane.party] -= 1

    def stop(self, job: Job) -> None:
        """Send nothing more in this job's lane until `go_on`: its failure may say that nobody should."""
        self._stopped[job.lease] = lane_of(job)

    def go_on(self, job: Job) -> None:
        """What a job's answer means is known."""
        self._stopped.pop(job.lease, None)

    def too_late(self, now: datetime) -> list[Job]:
        """Take out what may no longer be sent under its lease."""
        out: list[Job] = []
        for lane, jobs in list(self._waiting.items()):
            late = sum(1 for _ in takewhile(lambda waiting: not waiting.job.lease.may_still_send(now), jobs))
            out += self._take_out(lane, 0, late)
        return out

    def stuck(self) -> list[Job]:
        """Take out what waits for slow lanes, but for as many jobs as the lane may send at once."""
        slow_since = self._monotonic() - SLOW_AFTER_SECONDS
        slow = [lane for lane, jobs in self._waiting.items() if jobs[0].since <= slow_since]
        return [job for lane in slow for job in self._take_out(lane, lane.cap, len(self._waiting[lane]))]

    def take_out(self, is_held: Callable[[Job], bool]) -> int:
        """Take out every job that `is_held` says has been given back already; how many.

        When `is_held` raises, those before are out all the same: somebody else may have their leases by now.
        """
        out = 0
        for lane, jobs in list(self._waiting.items()):
            kept: deque[_Waiting] = deque()
            try:
                while jobs:
                    if is_held(jobs[0].job):
                        self._slots.expect(lane, -1)
                        out += 1
                    else:
                        kept.append(jobs[0])
                    jobs.popleft()
            finally:
                jobs.extendleft(reversed(kept))
                if not jobs:
                    del self._waiting[lane]
        return out

    def drain(self) -> list[Job]:
        """Take out everything."""
        return [job for lane in list(self._waiting) for job in self._take_out(lane, 0, len(self._waiting[lane]))]

    def _take_out(self, lane: Lane, start: int, end: int) -> list[Job]:
        jobs = list(self._waiting[lane])
        out, kept = jobs[start:end], jobs[:start] + jobs[end:]
        if out:
            self._slots.expect(lane, -len(out))
            self._waiting[lane] = deque(kept)
        if not kept:
            del self._waiting[lane]
        return [waiting.job for waiting in out]


class _Waiting(NamedTuple):
    since: float  # monotonic seconds
    job: Job
