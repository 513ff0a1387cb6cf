"""`manage.py up` with real processes: what it prints, what it refuses, what is left when somebody dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from config.supervisor import local_env
from tests.runtime.installation import Installation, eventually, installation, processes_of
from tests.servers.product import ROOT, clean_environment, free_port_pair

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes through /proc"),
]


@pytest.fixture(scope="module")
def var_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("installation")


@pytest.fixture(scope="module")
def running(var_dir: Path) -> Iterator[Installation]:
    """One for the tests that leave it running; they come first in this file."""
    with installation(var_dir, free_port_pair()) as started:
        yield started


def up(var_dir: Path, port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A start that is expected to be refused."""
    return subprocess.run(
        [sys.executable, "manage.py", "up", "--port", str(port), *arguments],
        cwd=ROOT,
        env=clean_environment(var_dir, ENV_FILE=""),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def answers(port: int, path: str = "/healthz") -> bool:
    try:
        return requests.get(f"http://localhost:{port}{path}", timeout=5).ok
    except requests.ConnectionError:
        return False


def test_it_prints_one_line_each_for_address_and_sign_in(running: Installation) -> None:
    assert running.printed("URL: ") == [f"http://localhost:{running.port}"]
    assert running.printed("Email: ") == ["demo@grantry.example"]
    assert len(running.printed("Password: ")) == 1
    assert len(running.printed("Password: ")[0]) >= 12


def test_everything_answers_and_the_demo_can_sign_in(running: Installation) -> None:
    assert requests.get(f"http://localhost:{running.port}/readyz", timeout=5).json()["status"] == "ok"
    assert answers(running.port + 1)
    with requests.Session() as browser:
        page = browser.get(f"http://localhost:{running.port}/accounts/login/", timeout=10)
        token = page.text.partition('csrfmiddlewaretoken" value="')[2].partition('"')[0]
        form = {
            "login": running.printed("Email: ")[0],
            "password": running.printed("Password: ")[0],
            "csrfmiddlewaretoken": token,
        }
        page = browser.post(page.url, data=form, timeout=10)

    assert page.url.startswith(f"http://localhost:{running.port}/w/demo/")


def test_other_host_names_redirect_to_the_printed_address(running: Installation) -> None:
    answer = requests.get(f"http://127.0.0.1:{running.port}/w/demo/?a=b", allow_redirects=False, timeout=10)

    assert answer.status_code == 302
    assert answer.headers["Location"] == f"http://localhost:{running.port}/w/demo/?a=b"


def test_generated_secrets_are_for_their_owner_alone(running: Installation, var_dir: Path) -> None:
    assert (var_dir / "local.env").stat().st_mode & 0o777 == 0o600
    assert set(local_env.read(var_dir / "local.env")) == set(local_env.GENERATORS)
    readable = [path for path in var_dir.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    assert readable == []


def test_a_second_one_on_the_same_folder_is_refused(running: Installation, var_dir: Path) -> None:
    refused = up(var_dir, free_port_pair())

    assert refused.returncode == 1
    assert f"runs already on {var_dir} (process {running.process.pid})" in refused.stderr
    assert "VAR_DIR=" in refused.stderr
    assert refused.stdout == ""


@pytest.mark.parametrize("offset", [0, -1], ids=["web", "sandbox"])
def test_a_port_in_use_is_refused_before_anything_starts(running: Installation, tmp_path: Path, offset: int) -> None:
    refused = up(tmp_path, running.port + offset)

    assert refused.returncode == 1
    assert f"Port {running.port}" in refused.stderr
    assert "make run" in refused.stderr
    assert not (tmp_path / "local.env").exists()


def test_a_killed_web_process_leaves_no_workers_and_is_started_again(running: Installation) -> None:
    main = running.pid_of("manage.py serve")
    workers = children_of(main)
    assert workers

    os.kill(main, signal.SIGKILL)

    assert eventually(lambda: not ({main, *workers} & set(running.processes())), seconds=15)
    assert eventually(lambda: answers(running.port), seconds=30)
    assert running.pid_of("manage.py serve") != main


def test_a_killed_web_worker_is_replaced(running: Installation) -> None:
    main = running.pid_of("manage.py serve")
    worker = max(pid for pid in children_of(main) if "spawn_main" in running.processes().get(pid, ""))
    before = set(children_of(main))

    os.kill(worker, signal.SIGKILL)

    assert eventually(lambda: bool(set(children_of(main)) - before), seconds=20)
    assert eventually(lambda: answers(running.port), seconds=20)


@pytest.mark.parametrize(
    "words",
    [("manage.py worker",), ("celery", "worker1@"), ("celery", " beat"), ("config.sandbox",)],
    ids=["worker main process", "one worker", "beat", "sandbox"],
)
def test_whatever_is_killed_comes_back(running: Installation, words: tuple[str, ...]) -> None:
    def runs() -> bool:
        return any(all(word in command for word in words) for command in running.processes().values())

    assert eventually(runs, seconds=30)  # the case before has killed its parent
    victim = running.pid_of(*words)
    offspring = children_of(victim)

    os.kill(victim, signal.SIGKILL)

    assert eventually(lambda: not ({victim, *offspring} & set(running.processes())), seconds=35)
    assert eventually(runs, seconds=30)
    assert running.process.poll() is None


def test_sigterm_stops_everything_within_seconds_and_leaves_nothing(running: Installation) -> None:
    assert eventually(lambda: answers(running.port + 1), seconds=30)

    running.process.send_signal(signal.SIGTERM)

    assert running.process.wait(30) == 0
    assert running.processes() == {}


def test_a_second_start_keeps_the_data_and_a_sigkill_leaves_nothing(running: Installation, var_dir: Path) -> None:
    assert running.process.poll() is not None  # stopped by the test before
    with installation(var_dir, running.port) as again:
        assert again.printed("Password: ") == running.printed("Password: ")
        assert len(again.processes()) > 5

        again.process.kill()
        again.process.wait(5)

        eventually(lambda: processes_of(var_dir) == {}, seconds=20)
        assert processes_of(var_dir) == {}


def test_ctrl_c_while_it_is_still_starting_leaves_nothing(tmp_path: Path) -> None:
    started = Installation(tmp_path, free_port_pair(), "--no-demo", "--no-sandbox")
    try:
        assert eventually(lambda: len(started.processes()) >= 3, seconds=60)
        started.process.send_signal(signal.SIGINT)

        assert started.process.wait(40) == 0
        assert started.processes() == {}
        assert started.printed("URL: ") == [] or started.printed("URL: ") == [f"http://localhost:{started.port}"]
    finally:
        started.end()


def children_of(pid: int) -> list[int]:
    """Direct children, from the kernel."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
