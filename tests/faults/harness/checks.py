"""What has to be true after every scenario."""

from __future__ import annotations

from collections.abc import Collection

from integrations.models import Connection, TokenSchedule
from tests.faults.harness.data import all_due_again, stored_refresh_tokens
from tests.faults.harness.installation import Installation
from tests.faults.harness.waiting import wait_until
from tests.servers.strict_rotating import Realm


def everything_settled() -> bool:
    """Whether nothing is due and nobody is renewing anything."""
    from integrations.clock import database_now

    rows = TokenSchedule.objects
    return not (
        rows.filter(lease_id__isnull=False).exists() or rows.filter(refresh_due_at__lte=database_now()).exists()
    )


def assert_nothing_lost(realm: Realm, *, but: Collection[str] = ()) -> None:
    """No refresh token was spent twice, and the newest of each family is stored; `but` names what could not survive."""
    report = realm.report()
    assert [token for token in report.spent_twice if not _is_of(token, but)] == [], "spent twice"
    assert {family for family in report.revoked if family not in but} == set(), "families that the provider ended"
    stored = stored_refresh_tokens()
    lost = {
        family: (stored.get(family), newest)
        for family, newest in report.newest.items()
        if family not in but and stored.get(family) != newest
    }
    assert lost == {}, f"{len(lost)} newest refresh tokens are not stored (stored, newest)"


def assert_everybody_renews(installation: Installation, realm: Realm, *, but: Collection[str] = ()) -> None:
    """Nothing is lost, and once all are due again each is renewed by one call more."""
    assert_nothing_lost(realm, but=but)
    before = realm.report().newest
    realm.forget_calls()
    all_due_again()
    installation.wake()
    wait_until(everything_settled, "everything to renew once more", seconds=60)
    assert_nothing_lost(realm, but=but)
    report = realm.report()
    expected = {family for family in before if family not in but}
    assert {family for family in expected if report.newest[family] == before[family]} == set(), "not renewed"
    assert {family: len(calls) for family, calls in report.by_family().items()} == dict.fromkeys(expected, 1)
    troubled = Connection.objects.exclude(name__in=list(but)).exclude(state="connected")
    assert list(troubled.values_list("name", "state", "last_error_code")) == []


def _is_of(token: str, families: Collection[str]) -> bool:
    return any(token.startswith(f"rt-{family}-") for family in families)
