"""Calls at once: a host's cap holds over all workers, and nobody's slow host keeps another's calls waiting."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.db import connection as database
from django.utils import timezone

from integrations.clock import Clock
from integrations.connections import batch, call_slots
from integrations.connections.call_queue import SLOW_AFTER_SECONDS, CallQueue
from integrations.connections.call_slots import RESERVED, CallSlots, Lane, fair_part, lane_of
from integrations.connections.lease import Lease
from integrations.connections.preparing import Barriers, load, prepare
from integrations.connections.renewal import Job
from integrations.models import CallShare, Connection, Token, TokenSchedule
from tests.connections.conftest import NOW, TOKEN, define_provider, token_answer
from tests.factories import make_connection, make_integration, make_workspace
from tests.servers.scripted import Answer, Received, ScriptedServer, scripted_server

GITHUB = Lane("github.com", "github.com", 10)


class Ticking:
    """A process's two clocks, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.clock = Clock(NOW, elapsed=lambda: self.seconds)

    def process(self) -> CallSlots:
        return CallSlots(self.clock, monotonic=lambda: self.seconds)


@pytest.fixture
def time() -> Ticking:
    return Ticking()


def take_all(slots: CallSlots, lane: Lane = GITHUB, *, wanted: int = 0) -> int:
    """Ask, and take as many as there are."""
    if wanted:
        slots.expect(lane, wanted)
    slots.reserve()
    return sum(1 for _ in iter(lambda: slots.take(lane), False))


@pytest.mark.parametrize(
    ("cap", "wants", "others", "part"),
    [
        (10, 10, [], 10),
        (10, 3, [10], 3),
        (10, 10, [3], 7),
        (10, 10, [10], 5),
        (10, 10, [10, 1], 5),  # 9 for two: whoever asks first has the odd one
        (10, 10, [0], 10),
        (2, 5, [5, 5], 1),  # more processes than slots: what is free decides
    ],
)
def test_small_wishes_are_met_and_the_rest_is_shared_evenly(cap: int, wants: int, others: list[int], part: int) -> None:
    assert fair_part(cap, wants, others) == part


@pytest.mark.django_db
def test_one_process_alone_has_the_whole_cap_and_no_more(time: Ticking) -> None:
    slots = time.process()
    assert take_all(slots, wanted=30) == 10
    slots.give_back(GITHUB)
    assert slots.take(GITHUB)
    assert not slots.take(GITHUB)


@pytest.mark.django_db
def test_a_process_that_comes_later_has_its_part_as_calls_end(time: Ticking) -> None:
    first, second = time.process(), time.process()
    assert take_all(first, wanted=30) == 10
    assert take_all(second, wanted=30) == 0
    time.seconds += 3
    first.reserve()  # gives back nothing yet: ten calls are under way
    assert take_all(second) == 0
    for _ in range(7):
        first.give_back(GITHUB)
    time.seconds += 3
    first.reserve()
    assert take_all(second) == 5
    assert take_all(first) == 2, "three are under way: five of ten together"


@pytest.mark.django_db
def test_what_others_do_not_want_is_not_kept_for_them(time: Ticking) -> None:
    first, second = time.process(), time.process()
    assert take_all(first, wanted=2) == 2
    assert take_all(second, wanted=30) == 8
    for _ in range(2):
        first.give_back(GITHUB)
    time.seconds += 3
    first.reserve()
    time.seconds += 3
    first.reserve()
    assert take_all(second) == 2


@pytest.mark.django_db
def test_a_run_that_is_over_leaves_its_share_at_once(time: Ticking) -> None:
    first, second = time.process(), time.process()
    take_all(first, wanted=30)
    first.give_up()
    assert take_all(second, wanted=30) == 10


@pytest.mark.django_db
def test_the_share_of_a_process_that_was_killed_ends_by_itself(time: Ticking) -> None:
    killed, other = time.process(), time.process()
    take_all(killed, wanted=30)
    time.seconds += RESERVED.total_seconds() - 1
    assert take_all(other, wanted=30) == 0
    time.seconds += 2
    assert take_all(other) == 10


@pytest.mark.django_db
def test_nothing_is_sent_that_could_outlive_its_share(time: Ticking) -> None:
    slots = time.process()
    slots.expect(GITHUB, 3)
    slots.reserve()
    assert slots.take(GITHUB)
    time.seconds += RESERVED.total_seconds() - 20 + 1
    assert not slots.take(GITHUB), "it may last 20 s"
    slots.reserve()
    assert slots.take(GITHUB)


@pytest.mark.django_db
def test_the_database_is_asked_every_few_seconds_and_not_for_each_call(
    time: Ticking, django_assert_num_queries: Any
) -> None:
    slots = time.process()
    take_all(slots, wanted=8)
    other = Lane("gitlab.com", "gitlab.com", 10)
    with django_assert_num_queries(0):
        for _ in range(500):
            slots.give_back(GITHUB)
            slots.expect(GITHUB)
            slots.reserve()
            assert slots.take(GITHUB)
    slots.expect(other)
    slots.reserve()
    assert slots.take(other), "a host that is new is asked for at once"
    assert len(CallShare.objects.get().lanes) == 2, "one row for all hosts of a process"


@pytest.mark.django_db
def test_while_the_database_is_away_what_is_reserved_goes_on(time: Ticking, monkeypatch: pytest.MonkeyPatch) -> None:
    slots = time.process()
    take_all(slots, wanted=30)
    asked = []

    def away(*_args: Any) -> None:
        asked.append(time.seconds)
        raise OperationalError

    monkeypatch.setattr(call_slots, "_reserve", away)
    time.seconds += 4
    slots.give_back(GITHUB)
    assert take_all(slots) == 1
    time.seconds += 1
    slots.expect(Lane("gitlab.com", "gitlab.com", 10))
    slots.reserve()
    assert asked == [4], "it is not asked over and over"
    time.seconds += 9
    slots.give_back(GITHUB)
    assert take_all(slots) == 0, "its share may end before the call does"


# --- within one process ---------------------------------------------------------------------------------
@contextmanager
def jobs_of(*counts: int) -> Iterator[list[list[Job]]]:
    """Jobs of several workspaces, each with a provider of its own."""
    with scripted_server() as server:
        made = []
        for count in counts:
            workspace = make_workspace()
            define_provider(workspace, server)
            integration = make_integration(workspace, "custom_acme")
            made.append([job_for(make_connection(integration, f"c{number}", issued_at=NOW)) for number in range(count)])
        yield made


def job_for(connection: Connection) -> Job:
    lease = Lease(connection.pk, connection.pk, NOW)
    job = prepare(load([connection.pk])[connection.pk], lease, Barriers(), NOW, forced=True)
    assert isinstance(job, Job)
    return job


@pytest.mark.django_db
def test_one_slow_party_has_half_of_the_threads_and_two_a_third_each(time: Ticking, settings: Any) -> None:
    with jobs_of(12, 12, 1) as (first, second, third):
        queue = CallQueue(time.process(), 12, monotonic=lambda: time.seconds)
        for job in first:
            queue.put(job)
        assert len(list(queue.ready())) == 6
        for job in second:
            queue.put(job)
        assert len(list(queue.ready())) == 3
        queue.put(third[0])
        assert list(queue.ready()) == third, "there is a thread for whoever comes next"


@pytest.mark.django_db
def test_what_waits_for_a_slow_party_is_taken_out_and_keeps_no_claim_from_being_made(time: Ticking) -> None:
    with jobs_of(80) as (jobs,):
        queue = CallQueue(time.process(), 8, monotonic=lambda: time.seconds)
        for job in jobs:
            queue.put(job)
        assert len(list(queue.ready())) == 4
        assert (queue.busy, queue.stuck()) == (80, [])
        time.seconds += SLOW_AFTER_SECONDS
        assert queue.busy == 0
        assert len(queue.stuck()) == 80 - 4 - 64
        assert len(queue) == 64, "enough to go on with is kept"
        assert queue.too_late(NOW + timedelta(seconds=30)) == []
        assert len(queue.too_late(NOW + timedelta(seconds=31))) == 64
        assert len(queue) == 0


@pytest.mark.django_db
def test_a_job_that_was_given_back_is_never_sent_although_the_next_could_not_be(time: Ticking) -> None:
    """The database goes away in between: whose lease is given back may be renewed by somebody else by now."""
    with jobs_of(5) as (jobs,):
        queue = CallQueue(time.process(), 20, monotonic=lambda: time.seconds)
        for job in jobs:
            queue.put(job)

        def is_held(job: Job) -> bool:
            if job is jobs[3]:
                raise OperationalError("gone")
            return job is not jobs[1]

        with pytest.raises(OperationalError):
            queue.take_out(is_held)
        assert list(queue.ready()) == [jobs[1], jobs[3], jobs[4]]


@pytest.mark.django_db
def test_hosts_that_a_workspace_chooses_count_for_itself(time: Ticking) -> None:
    workspace = make_workspace()
    builtin = make_connection(make_integration(workspace, "github"), issued_at=NOW)
    assert lane_of(job_for(builtin)) == Lane("github.com", "github.com", 64)
    own = make_integration(workspace, "zendesk", parameters={"subdomain": "acme"})
    zendesk = lane_of(job_for(make_connection(own, issued_at=NOW)))
    assert zendesk == Lane(f"{workspace.pk} acme.zendesk.com", str(workspace.pk), 64)


@pytest.mark.django_db(transaction=True)
def test_a_slow_host_with_many_due_tokens_delays_nobody_elses(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow workspace's tokens are all due longer than the other's: claims would come to it last."""
    monkeypatch.setattr("integrations.connections.call_queue.SLOW_AFTER_SECONDS", 0.02)
    monkeypatch.setattr(batch, "LOOK_UP_SECONDS", 0.02)
    monkeypatch.setattr(call_slots, "CALLS_PER_HOST", 2)
    hold = threading.Event()
    with scripted_server() as slow, scripted_server() as quick:
        settings.OUTBOUND_ALLOWED_HOSTS = [slow.host, quick.host]
        slow.answer(TOKEN, json=token_answer(), wait=hold)
        quick.answer(TOKEN, json=token_answer())
        many = make_due(slow, 12, timedelta(hours=2))
        [one] = make_due(quick, 1, timedelta(minutes=1))
        run = threading.Thread(target=run_batch)
        run.start()
        try:
            assert wait_for(lambda: Token.objects.get(pk=one.pk).version != one.token.version)
            assert not hold.is_set()
            assert len(slow.to(TOKEN)) == 2
        finally:
            hold.set()
            run.join(60)
    waiting = TokenSchedule.objects.filter(connection__in=many, lease_until__isnull=False)
    assert not waiting.exists()
    assert not CallShare.objects.exists()


def make_due(server: ScriptedServer, count: int, ago: timedelta) -> list[Connection]:
    workspace = make_workspace()
    define_provider(workspace, server)
    integration = make_integration(workspace, "custom_acme")
    long_ago = timezone.now() - ago
    return [make_connection(integration, f"c{n}", issued_at=long_ago, due_at=long_ago) for n in range(count)]


def run_batch() -> None:
    try:
        batch.refresh_due(4, once=False)
    finally:
        database.close()


def wait_for(condition: Any, seconds: float = 60) -> bool:
    """Whether something becomes true in time."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return True
        pause.wait(0.02)
    return False


# --- over processes -------------------------------------------------------------------------------------
CAP = 5


class CountingServer:
    """Answers each call after a moment and remembers how many were under way at once, and whose they were."""

    def __init__(self, server: ScriptedServer) -> None:
        self.most = self.now = 0
        self.held = threading.Event()  # set: calls are answered
        self._lock = threading.Lock()
        self.server = server
        server.respond(TOKEN, self._answer)

    def _answer(self, _request: Received) -> Answer:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.held.wait(30)
        threading.Event().wait(0.02)
        with self._lock:
            self.now -= 1
        return Answer(body=json.dumps(token_answer()).encode(), headers={"Content-Type": "application/json"})


@contextmanager
def batch_processes(count: int, host: str, *, reserved: float) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are ready to run a batch on this test's database."""
    name = database.settings_dict["NAME"]
    url = (
        f"sqlite:///{name}" if database.vendor == "sqlite" else f"{os.environ['DATABASE_URL'].rsplit('/', 1)[0]}/{name}"
    )
    environment = {**os.environ, "DATABASE_URL": url, "OUTBOUND_ALLOWED_HOSTS": host}
    command = [sys.executable, "-m", "tests.connections.batch_process", str(CAP), str(reserved)]
    processes = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    try:
        for process in processes:
            assert said(process) == "ready"
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def begin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.django_db(transaction=True)
def test_three_processes_together_never_exceed_a_hosts_cap() -> None:
    with scripted_server() as server:
        counting = CountingServer(server)
        connections = make_due(server, 60, timedelta(hours=2))
        with batch_processes(3, server.host, reserved=30) as processes:
            for process in processes:
                begin(process)
            assert wait_for(lambda: CallShare.objects.count() == 3 and counting.now == CAP), "all have asked for shares"
            counting.held.set()
            summaries = [said(process) for process in processes]
            assert len(server.to(TOKEN)) == 60, summaries
    assert counting.most == CAP, summaries
    assert Token.objects.filter(connection__in=connections, issued_at__gt=connections[0].token.issued_at).count() == 60


@pytest.mark.django_db(transaction=True)
def test_the_share_of_a_process_that_was_killed_can_be_used_again() -> None:
    with scripted_server() as server:
        counting = CountingServer(server)
        make_due(server, 30, timedelta(hours=2))
        with batch_processes(2, server.host, reserved=4) as [killed, other]:
            begin(killed)
            assert wait_for(lambda: counting.now == CAP)
            begin(other)
            assert wait_for(lambda: CallShare.objects.count() == 2)
            assert counting.most == CAP
            killed.send_signal(signal.SIGKILL)
            # The server thinks on about its calls, which nobody waits for any more; the other has them besides.
            assert wait_for(lambda: len(server.to(TOKEN)) > CAP)
            assert wait_for(lambda: live_share_of_one() == CAP)
            counting.held.set()
            said(other)


def live_share_of_one() -> int:
    [lanes] = CallShare.objects.filter(until__gt=timezone.now()).values_list("lanes", flat=True) or [{}]
    return sum(share for share, _ in lanes.values())
