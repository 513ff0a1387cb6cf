"""The examples of docs/webhooks.md check a message that was really delivered."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from integrations.models import Notice, NoticeKind, WebhookEvent
from integrations.webhooks.endpoints import NewSecret
from tests.servers.scripted import Received, ScriptedServer
from tests.webhooks.conftest import HOOK, NOW, run

DOCUMENT = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()


def example(language: str, containing: str) -> str:
    return next(block for block in re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL) if containing in block)


@pytest.fixture
def received(receiver: ScriptedServer, new_endpoint: NewSecret, notice: Callable[..., Notice]) -> Received:
    receiver.answer(HOOK)
    notice(NoticeKind.CONSENT_EXPIRING, about_connection=True, ends_at=NOW, message="Ünïcode")
    run()
    return receiver.to(HOOK)[0]


def test_the_python_example(received: Received, new_endpoint: NewSecret) -> None:
    names: dict[str, Any] = {}
    exec(example("python", "is_genuine"), names)  # noqa: S102 (our own documentation)
    check, now = names["is_genuine"], NOW.timestamp()
    assert check(received.headers, received.body, new_endpoint.secret, now + 299)
    assert not check(received.headers, received.body, new_endpoint.secret, now + 301)
    assert not check(received.headers, received.body + b" ", new_endpoint.secret, now)
    assert not check({**received.headers, "webhook-id": "another"}, received.body, new_endpoint.secret, now)
    both = {**received.headers, "webhook-signature": f"v1,c29tZXRoaW5n {received.headers['webhook-signature']}"}
    assert check(both, received.body, new_endpoint.secret, now)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
@pytest.mark.parametrize(("added", "said"), [(b"", "genuine"), (b" ", "forged")])
def test_the_shell_example(
    added: bytes, said: str, received: Received, new_endpoint: NewSecret, tmp_path: Path
) -> None:
    (tmp_path / "body.json").write_bytes(received.body + added)
    variables = {
        "SECRET": new_endpoint.secret,
        "ID": received.headers["webhook-id"],
        "TIMESTAMP": received.headers["webhook-timestamp"],
        "SIGNATURE": received.headers["webhook-signature"],
        "PATH": "/usr/bin:/bin:/usr/local/bin",
    }
    script = example("sh", "openssl")
    shown = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, env=variables, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == said


def test_every_event_and_member_is_documented(received: Received) -> None:
    listed = set(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", DOCUMENT, re.MULTILINE))
    assert listed == {event.value for event in WebhookEvent}
    shown = example("json", '"data"')
    assert [name for name in received.json["data"] if f'"{name}"' not in shown] == []
