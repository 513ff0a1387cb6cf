"""Notices and digests are kept for 90 days."""

from __future__ import annotations

from datetime import timedelta

import pytest

from integrations.health.retention import delete_old
from integrations.models import Connection, ConnectionState, Notice, NoticeDigest, NoticeMail
from tests.health.conftest import NOON, beat, becomes

pytestmark = pytest.mark.django_db


def test_what_is_older_than_ninety_days_goes_and_what_is_not_stays(connection: Connection) -> None:
    becomes(connection, ConnectionState.RECONNECT_REQUIRED, 0)
    beat(2)
    becomes(connection, ConnectionState.CONNECTED, 10)
    Notice.objects.filter(kind="recovered").update(at=NOON + timedelta(days=2))
    assert delete_old(NOON + timedelta(days=90)) == 0
    assert delete_old(NOON + timedelta(days=91)) > 0
    assert [notice.kind for notice in Notice.objects.all()] == ["recovered"]
    assert not NoticeDigest.objects.exists()
    assert not NoticeMail.objects.exists()
