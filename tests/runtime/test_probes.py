"""/healthz, /readyz, /metrics: honest answers, no secrets."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from integrations.models import NoticeDigest, NoticeKind, NoticeMail, WebhookDelivery
from integrations.notices import notice_of_integration
from integrations.webhooks.endpoints import create_endpoint
from tests.factories import make_connection, make_integration
from workspaces.audit import Actor
from workspaces.models import Workspace


@pytest.fixture
def prober() -> Client:
    return Client(HTTP_HOST="10.0.0.7:8000")


def test_healthz_looks_at_nothing_and_takes_any_host(prober: Client, settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["grantry.example.com"]
    settings.PUBLIC_BASE_URL = "https://grantry.example.com"
    settings.SECURE_SSL_REDIRECT = True

    answer = prober.get("/healthz")

    assert (answer.status_code, answer.content) == (200, b"ok\n")
    assert "no-store" in answer.headers["Cache-Control"]


def test_readyz_says_ok_for_each_check(db: None, prober: Client) -> None:
    answer = prober.get("/readyz")

    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok",
        "checks": {"database": "ok", "migrations": "ok", "keys": "ok", "broker": "ok"},
    }


def test_readyz_is_503_while_the_database_is_away(db: None, prober: Client) -> None:
    # No test may stop the database under the others: the outage is acted where Django asks for a cursor.
    with patch.object(connection, "cursor", side_effect=OperationalError("server closed the connection")):
        answer = prober.get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["checks"]["database"] == "The database does not answer."


def test_readyz_is_503_while_a_migration_waits(db: None, prober: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'workspaces'")

    answer = prober.get("/readyz")

    assert answer.status_code == 503
    assert "Run manage.py migrate" in answer.json()["checks"]["migrations"]


def test_readyz_is_503_when_the_keys_do_not_open_stored_tokens(
    workspace: Workspace, prober: Client, settings: Settings
) -> None:
    make_connection(make_integration(workspace))
    assert prober.get("/readyz").status_code == 200

    settings.FERNET_KEYS = [base64.urlsafe_b64encode(bytes(range(32)))]
    answer = prober.get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["checks"]["keys"].startswith("FERNET_KEYS do not open the stored tokens")
    assert base64.urlsafe_b64encode(bytes(range(32))) not in answer.content


def test_readyz_is_503_when_the_broker_is_away(db: None, prober: Client, settings: Settings) -> None:
    settings.REDIS_URL = "redis://:hunter2@127.0.0.1:1/0"

    answer = prober.get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["checks"]["broker"] == "Redis does not answer."
    assert b"hunter2" not in answer.content


def test_readyz_is_503_when_the_embedded_broker_has_no_folder(
    db: None, prober: Client, settings: Settings, tmp_path: Path
) -> None:
    settings.REDIS_URL = ""
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = {"data_folder_out": str(tmp_path / "gone")}

    assert prober.get("/readyz").status_code == 503


def figures(client: Client, **headers: str) -> dict[str, float]:
    text = client.get("/metrics", headers=headers).content.decode()
    lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def test_metrics_count_connections_and_tokens(workspace: Workspace, prober: Client) -> None:
    assert figures(prober)["grantry_tokens_due"] == 0
    stored = make_connection(make_integration(workspace))

    seen = figures(prober)

    assert seen[f'grantry_connections{{state="{stored.state}"}}'] == 1
    assert seen["grantry_workspaces"] == 1
    assert seen["grantry_token_refresh_lag_seconds"] >= 0


def test_metrics_tell_how_late_webhooks_are(workspace: Workspace, prober: Client) -> None:
    hook = create_endpoint(workspace, url="https://hooks.example.com/", actor=Actor.operator()).endpoint
    due = timezone.now() - timedelta(hours=1)
    WebhookDelivery.objects.create(
        workspace=workspace, endpoint=hook, event_type="connection.degraded", body="{}", next_attempt_at=due
    )

    seen = figures(prober)

    assert seen["grantry_webhooks_due"] == 1
    assert 3600 <= seen["grantry_webhook_lag_seconds"] < 7200


def test_metrics_count_notices_and_say_whether_their_mails_go_out(workspace: Workspace, prober: Client) -> None:
    assert figures(prober)["grantry_notice_mail_lag_seconds"] == 0
    now = timezone.now()
    old = notice_of_integration(make_integration(workspace), NoticeKind.MISCONFIGURED, at=now - timedelta(minutes=30))
    digest = NoticeDigest.objects.create(workspace=workspace, made_at=now - timedelta(minutes=10))
    mail = NoticeMail.objects.create(digest=digest, membership=workspace.memberships.get(), due_at=now)
    seen = figures(prober)
    assert seen['grantry_notices_24h{kind="misconfigured"}'] == 1
    assert seen['grantry_notices_24h{kind="recovered"}'] == 0
    assert 600 <= seen["grantry_notice_mail_lag_seconds"] < 700
    assert 1800 <= seen["grantry_notice_unmailed_seconds"] < 1900
    NoticeMail.objects.filter(pk=mail.pk).update(due_at=None)
    old.mailed_at = now
    old.save()
    seen = figures(prober)
    assert seen["grantry_notice_mail_lag_seconds"] == seen["grantry_notice_unmailed_seconds"] == 0


def test_metrics_are_for_this_machine_or_for_whoever_has_the_token(
    db: None, prober: Client, settings: Settings
) -> None:
    assert prober.get("/metrics").status_code == 200
    assert prober.get("/metrics", REMOTE_ADDR="10.1.2.3").status_code == 403
    # A proxy on this machine that nobody told us about.
    assert prober.get("/metrics", headers={"X-Forwarded-For": "10.1.2.3"}).status_code == 403

    settings.METRICS_TOKEN = "s3cret-token"
    assert prober.get("/metrics").status_code == 403
    assert prober.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 403
    assert prober.get("/metrics", headers={"Authorization": "Bearer s3cret-token"}).status_code == 200
