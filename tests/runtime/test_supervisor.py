"""The supervisor with small children of its own: restarts, their limit, and stopping."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from config.supervisor import local_env, supervisor
from config.supervisor.lifeline import Lifeline
from config.supervisor.ports import is_free, pick_free
from config.supervisor.supervisor import ChildSpec, Supervisor, backoff_seconds
from tests.runtime.installation import eventually
from tests.servers.product import ROOT

pytestmark = pytest.mark.processes

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def test_a_child_that_will_not_stay_up_stops_everything_with_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(supervisor, "MAX_BACKOFF_SECONDS", 0.01)
    good = ChildSpec("good", [sys.executable, "-c", "import time; print('hello', flush=True); time.sleep(60)"])
    bad = ChildSpec("bad", [sys.executable, "-c", "import sys; print('no luck'); sys.exit(3)"])

    started = time.monotonic()
    code = Supervisor([good, bad]).run()

    output = capsys.readouterr().out
    assert code == 1
    assert time.monotonic() - started < 20
    assert "good | hello" in output
    assert "bad  | no luck" in output
    assert "bad ended with code 3; starting it again in 0.01 s." in output
    assert f"for the {supervisor.MAX_DEATHS + 1}th time" in output


def test_a_child_that_does_not_listen_is_killed_after_its_time() -> None:
    run = Supervisor([ChildSpec("stubborn", [sys.executable, "-c", STUBBORN], stop_seconds=0.5)])
    started = time.monotonic()

    code = run.run(should_stop=lambda: time.monotonic() - started > 1)

    assert code == 0
    assert time.monotonic() - started < 5


def test_the_wait_grows_and_has_a_limit() -> None:
    assert [backoff_seconds(deaths) for deaths in range(1, 8)] == [0.5, 1, 2, 4, 8, 15, 15]


def test_a_process_with_a_lifeline_ends_with_its_parent() -> None:
    watcher = (
        "import time; from config.supervisor.lifeline import watch_lifeline; "
        "assert watch_lifeline(); print('watching', flush=True); time.sleep(60)"
    )
    line = Lifeline()
    child = subprocess.Popen(
        [sys.executable, "-c", watcher],
        cwd=ROOT,
        env={**os.environ, **line.environment()},
        pass_fds=(line.child_fd,),
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"watching\n"

    line.close()  # what the kernel does when a parent is killed

    assert eventually(lambda: child.poll() is not None, seconds=5)
    assert child.returncode == -signal.SIGTERM
    child.stdout.close()


def test_a_port_that_is_listened_on_is_not_free() -> None:
    import socket

    port = pick_free()
    assert is_free("127.0.0.1", port)
    with socket.socket() as server:
        # Granian listens like this, and would share the port with a second one.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", port))
        server.listen()
        assert not is_free("127.0.0.1", port)


def test_secrets_are_generated_once_and_what_is_set_is_left_alone(tmp_path: Path) -> None:
    first: dict[str, str] = {"SECRET_KEY": "mine"}
    made = local_env.generate_missing(tmp_path, first)
    second: dict[str, str] = {}

    again = local_env.generate_missing(tmp_path, second)

    assert "SECRET_KEY" not in made
    assert first["SECRET_KEY"] == "mine"
    assert again == ["SECRET_KEY"]  # the file never held it
    assert second["FERNET_KEYS"] == first["FERNET_KEYS"]
    assert (tmp_path / "local.env").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["local.env"]
