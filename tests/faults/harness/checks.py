"""What has to be true after every scenario."""

from __future__ import annotations

from collections.abc import Collection

from integrations.clock import database_now
from integrations.models import Connection, TokenSchedule
from tests.faults.harness.data import all_due_again, stored_refresh_tokens
from tests.faults.harness.installation import Installation
from tests.faults.harness.waiting import wait_until
from tests.servers.strict_rotating import Realm


def everything_settled() -> bool:
    """Whether nothing is due and nobody is renewing anything."""
    rows = TokenSchedule.objects
    leased, due = rows.filter(lease_id__isnull=False), rows.filter(refresh_due_at__lte=database_now())
    return not (leased.exists() or due.exists())


def not_stored(realm: Realm) -> set[str]:
    """Families whose newest refresh token the database does not hold."""
    stored = stored_refresh_tokens()
    return {family for family, newest in realm.report().newest.items() if stored.get(family) != newest}


def assert_nothing_lost(*realms: Realm, but: Collection[str] = ()) -> None:
    """No refresh token was spent twice, and the newest of each family is stored; `but` names what could not survive."""
    for realm in realms:
        report = realm.report()
        twice = [token for token in report.spent_twice if _family(token) not in but]
        assert twice == [], f"spent twice: {twice}"
        assert set(report.revoked) - set(but) == set(), "families that the provider ended"
        assert not_stored(realm) - set(but) == set(), "newest refresh tokens that are not stored"


def assert_everybody_renews(installation: Installation, *realms: Realm, but: Collection[str] = ()) -> None:
    """Nothing is lost, and once all are due again each is renewed by one call more."""
    assert_nothing_lost(*realms, but=but)
    before = [realm.report().newest for realm in realms]
    for realm in realms:
        realm.forget_calls()
    all_due_again()
    installation.wake()
    wait_until(everything_settled, "everything to renew once more", seconds=300, or_say=_troubled)
    assert_nothing_lost(*realms, but=but)
    for realm, newest_before in zip(realms, before, strict=True):
        report = realm.report()
        expected = set(newest_before) - set(but)
        assert {family for family in expected if report.newest[family] == newest_before[family]} == set()
        assert {family: len(calls) for family, calls in report.by_family().items()} == dict.fromkeys(expected, 1)
    assert [row for row in _troubled() if row[0] not in but] == []


def _troubled() -> list[tuple[str, ...]]:
    rows = Connection.objects.exclude(state="connected")
    return list(rows.values_list("name", "state", "last_error_code"))


def _family(token: str) -> str:
    return token.removeprefix("rt-").rpartition("-")[0]
