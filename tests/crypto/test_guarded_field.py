"""The guarded column: every way past it is refused, and nothing that cannot be opened is ever lost."""

from __future__ import annotations

import copy
import json
import pickle
import uuid
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core import serializers
from django.core.exceptions import FieldError
from django.core.management import call_command
from django.db import connection as database
from django.db import transaction
from django.db.models import F, Value
from django.db.models.functions import Concat

from integrations import crypto
from integrations.models import Integration, IssuedToken, Token, TokenSecrets, store_tokens
from tests.factories import make_connection, make_integration, make_workspace
from workspaces.models import Workspace


@pytest.fixture
def integration(workspace: Workspace) -> Integration:
    return make_integration(workspace, client_secret="canary-secret")


def raw_ciphertext(row: Integration) -> bytes:
    """What stands in the database."""
    with database.cursor() as cursor:
        pk = Integration._meta.pk.get_db_prep_value(row.pk, database)
        cursor.execute("SELECT client_secret FROM integrations_integration WHERE id = %s", [pk])
        return bytes(cursor.fetchone()[0])


def put_ciphertext(row: Integration, ciphertext: bytes) -> None:
    """Tamper with the database."""
    with database.cursor() as cursor:
        pk = Integration._meta.pk.get_db_prep_value(row.pk, database)
        binary: Any = database.Database
        cursor.execute(
            "UPDATE integrations_integration SET client_secret = %s WHERE id = %s", [binary.Binary(ciphertext), pk]
        )


def test_it_stores_ciphertext_and_reads_plaintext(integration: Integration) -> None:
    assert b"canary-secret" not in raw_ciphertext(integration)
    assert Integration.objects.get(pk=integration.pk).client_secret == "canary-secret"
    assert integration.client_secret == "canary-secret"


def test_null_stays_null(workspace: Workspace) -> None:
    row = make_integration(workspace, client_secret=None)
    row = Integration.objects.get(pk=row.pk)
    assert row.client_secret is None
    assert not row.has_client_secret


def test_an_instance_forgets_plaintext_once_saved(integration: Integration) -> None:
    for row in (integration, Integration.objects.get(pk=integration.pk)):
        assert row.client_secret == "canary-secret"
        assert "canary-secret" not in repr(vars(row))
        assert b"canary-secret" not in pickle.dumps(row)
        again = pickle.loads(pickle.dumps(row))  # noqa: S301 (our own bytes)
        assert again.client_secret == "canary-secret"


def test_before_it_is_saved_plaintext_is_neither_shown_nor_pickled(integration: Integration) -> None:
    integration.client_secret = "next-canary"
    assert integration.client_secret == "next-canary"
    assert "next-canary" not in repr(vars(integration))
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(integration)


@pytest.mark.parametrize(
    "value", ["text", F("client_id"), Value("text"), Concat(F("client_id"), Value("x")), None], ids=str
)
def test_update_is_refused(integration: Integration, value: Any) -> None:
    for manager in (Integration.objects, Integration._base_manager, integration.workspace.integrations):
        with pytest.raises(FieldError):
            manager.filter(pk=integration.pk).update(client_secret=value)
    assert Integration.objects.get(pk=integration.pk).client_secret == "canary-secret"


def test_bulk_update_is_refused(integration: Integration) -> None:
    integration.client_secret = "other"
    with pytest.raises(FieldError):
        Integration.objects.bulk_update([integration], ["client_secret"])
    assert Integration.objects.get(pk=integration.pk).client_secret == "canary-secret"


@pytest.mark.parametrize("value", [F("client_id"), Value("x"), 7, b"bytes"], ids=str)
def test_only_text_can_be_set(integration: Integration, value: Any) -> None:
    with pytest.raises(FieldError):
        integration.client_secret = value


def test_bulk_create_seals_each_row_for_itself(workspace: Workspace) -> None:
    rows = [
        Integration(workspace=workspace, provider_id=f"p{n}", grant_type="authorization_code", client_secret=f"s{n}")
        for n in range(3)
    ]
    Integration.objects.bulk_create(rows)
    stored = Integration.objects.filter(workspace=workspace).order_by("provider_id")
    assert [row.client_secret for row in stored] == ["s0", "s1", "s2"]


def test_an_upsert_of_the_column_is_refused(integration: Integration) -> None:
    with pytest.raises(FieldError):
        Integration.objects.bulk_create(
            [integration], update_conflicts=True, unique_fields=["id"], update_fields=["client_secret"]
        )


def test_values_are_refused_and_masked(integration: Integration) -> None:
    rows = Integration.objects.filter(pk=integration.pk)
    for read in (
        lambda: rows.values(),
        lambda: rows.values_list(),
        lambda: rows.values("client_secret"),
        lambda: rows.values_list("client_secret", flat=True),
        lambda: rows.values(secret=F("client_secret")),
        lambda: rows.values_list(F("client_secret")),
    ):
        with pytest.raises(FieldError):
            read()
    assert list(rows.values("client_id")) == [{"client_id": "client-1"}]
    # Across a relation, from a model without encrypted columns, only the closed value comes out.
    make_connection(integration)
    [masked] = integration.connections.values_list("integration__client_secret", flat=True)
    assert str(masked) == "<sealed>"
    assert "canary" not in repr(masked)


def test_it_cannot_be_filtered_by(integration: Integration) -> None:
    with pytest.raises(FieldError):
        list(Integration.objects.filter(client_secret="canary-secret"))
    assert Integration.objects.filter(client_secret__isnull=False).count() == 1


def test_export_and_fixtures_are_refused(integration: Integration, tmp_path: Path) -> None:
    with pytest.raises(FieldError):
        serializers.serialize("json", [integration])
    fixture = tmp_path / "rows.json"
    fields = {
        "workspace": str(integration.workspace_id),
        "provider_id": "x",
        "grant_type": "authorization_code",
        "client_secret": "plain",
    }
    fixture.write_text(json.dumps([{"model": "integrations.integration", "pk": str(uuid.uuid4()), "fields": fields}]))
    with pytest.raises(Exception, match="no update"):
        call_command("loaddata", str(fixture), verbosity=0)
    assert Integration.objects.count() == 1


def test_deferred_columns_load_when_they_are_read(integration: Integration) -> None:
    row = Integration.objects.defer("client_secret").get(pk=integration.pk)
    assert "client_secret" in row.get_deferred_fields()
    assert row.client_secret == "canary-secret"


def test_refresh_from_db_takes_the_stored_value(integration: Integration) -> None:
    stale = Integration.objects.get(pk=integration.pk)
    integration.client_secret = "newer"
    integration.save(update_fields=["client_secret"])
    assert stale.client_secret == "canary-secret"
    stale.refresh_from_db()
    assert stale.client_secret == "newer"


def test_saving_a_stale_instance_does_not_put_old_ciphertext_back(integration: Integration) -> None:
    stale = Integration.objects.get(pk=integration.pk)
    integration.client_secret = "newer"
    integration.save()
    stale.client_id = "changed"
    stale.save()
    row = Integration.objects.get(pk=integration.pk)
    assert (row.client_id, row.client_secret) == ("changed", "newer")


def test_saving_without_a_change_keeps_the_ciphertext(integration: Integration) -> None:
    before = raw_ciphertext(integration)
    row = Integration.objects.get(pk=integration.pk)
    assert row.client_secret
    row.save()
    assert raw_ciphertext(integration) == before


def test_full_clean_leaves_it_alone(integration: Integration) -> None:
    row = Integration.objects.get(pk=integration.pk)
    row.full_clean(exclude=["additional_scopes", "parameters"])
    row.save()
    assert Integration.objects.get(pk=integration.pk).client_secret == "canary-secret"


def test_ciphertext_moved_to_another_row_is_refused(integration: Integration) -> None:
    mallory = make_integration(make_workspace(), client_secret="mallory")
    put_ciphertext(mallory, raw_ciphertext(integration))
    with pytest.raises(crypto.WrongRow):
        _ = Integration.objects.get(pk=mallory.pk).client_secret


def test_ciphertext_moved_to_another_workspace_with_its_row_is_refused(integration: Integration) -> None:
    other = make_workspace()
    Integration.objects.filter(pk=integration.pk).update(workspace=other)
    with pytest.raises(crypto.WrongRow):
        _ = Integration.objects.get(pk=integration.pk).client_secret


def test_ciphertext_moved_to_another_column_is_refused(integration: Integration) -> None:
    connection = make_connection(integration)
    with database.cursor() as cursor:
        cursor.execute("UPDATE integrations_token SET extra = ciphertext")
    token = Token.objects.get(connection=connection)
    assert token.open().access_token == "access-token-1"
    with pytest.raises(crypto.WrongRow):
        _ = token.extra


def test_a_copied_instance_does_not_take_the_ciphertext_along(integration: Integration) -> None:
    twin = copy.copy(Integration.objects.get(pk=integration.pk))
    twin.pk, twin.provider_id = uuid.uuid4(), "other"
    twin._state.adding = True
    with pytest.raises(crypto.WrongRow), transaction.atomic():
        twin.save(force_insert=True)
    assert Integration.objects.count() == 1


def test_a_row_needs_its_workspace_before_it_can_seal(db: None) -> None:
    with pytest.raises(FieldError):
        Integration(provider_id="x", grant_type="authorization_code", client_secret="s").save()


def test_what_no_key_opens_is_shown_as_such_and_never_overwritten(integration: Integration, settings: Any) -> None:
    before = raw_ciphertext(integration)
    keys = settings.FERNET_KEYS
    settings.FERNET_KEYS = [Fernet.generate_key()]
    row = Integration.objects.get(pk=integration.pk)
    assert row.has_client_secret
    with pytest.raises(crypto.Undecryptable):
        _ = row.client_secret
    row.client_id = "changed"
    row.save()
    row.refresh_from_db()
    row.save(update_fields=["client_id", "client_secret"])
    assert raw_ciphertext(integration) == before
    settings.FERNET_KEYS = keys
    assert Integration.objects.get(pk=integration.pk).client_secret == "canary-secret"


def test_a_failed_save_is_retried_with_the_new_value(integration: Integration) -> None:
    row = Integration.objects.get(pk=integration.pk)
    row.client_secret = "newer"
    provider_id, row.provider_id = row.provider_id, None
    with pytest.raises(Exception, match=r"(?i)null"), transaction.atomic():
        row.save()
    row.provider_id = provider_id
    row.save()
    assert Integration.objects.get(pk=integration.pk).client_secret == "newer"


def test_saving_a_deleted_row_does_not_bring_it_back(integration: Integration) -> None:
    row = Integration.objects.get(pk=integration.pk)
    integration.delete()
    with pytest.raises(Exception, match="did not affect any rows"), transaction.atomic():
        row.save()
    assert not Integration.objects.exists()


def test_a_fenced_write_seals_for_its_row_and_happens_once(integration: Integration) -> None:
    connection = make_connection(integration)
    token = Token.objects.get(connection=connection)
    issued = IssuedToken(TokenSecrets("new-access", "new-refresh"), token.issued_at, None)
    assert store_tokens(connection.pk, connection.workspace_id, token.version, issued)
    assert not store_tokens(connection.pk, connection.workspace_id, token.version, issued)
    assert not store_tokens(connection.pk, uuid.uuid4(), token.version + 1, issued)
    stored = Token.objects.get(connection=connection)
    assert stored.open() == issued.secrets
    assert stored.version == token.version + 1
    assert stored.expires_at is None
    assert "new-" not in repr(issued)
