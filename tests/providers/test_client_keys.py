"""Keys of an integration: made, rotated, retired, deleted, sealed, and what the pages and the API say about them."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from integrations import crypto
from integrations.connections.sweep import sweep
from integrations.fields import Sealed
from integrations.models import ClientKey, GrantType, Integration
from integrations.oauth.client import ClientAuthMethod
from integrations.oauth.client_assertion import public_jwk
from integrations.providers.base import ProviderSpec
from integrations.providers.client_keys import (
    MAX_PUBLISHED,
    OVERLAP,
    PUBLISHED_BEFORE_SIGNING,
    KeyRefused,
    create_key,
    delete_key,
    jwks_uri,
    key_set,
    rotate_key,
)
from integrations.providers.oauth_provider import provider_for
from integrations.providers.registry import find_spec
from integrations.providers.setup import is_configured, save_integration
from tests.api.client import make_key
from tests.factories import make_integration, make_member, make_user, make_workspace
from workspaces.audit import Actor
from workspaces.models import AuditEvent, User, Workspace
from workspaces.roles import Role

OPERATOR = Actor.operator()
JWT = ClientAuthMethod.PRIVATE_KEY_JWT
SECOND = timedelta(seconds=1)


def save(workspace: Workspace, method: str | None = JWT, **fields: Any) -> Integration:
    values: dict[str, Any] = {
        "client_id": "client-1",
        "actor": OPERATOR,
        "token_endpoint_auth_method": method,
        **fields,
    }
    spec = find_spec(workspace, "gitlab")
    saved = save_integration(workspace, spec, GrantType.AUTHORIZATION_CODE, **values)
    return Integration.objects.get(pk=saved.pk)


@pytest.fixture
def spec(workspace: Workspace) -> ProviderSpec:
    return find_spec(workspace, "gitlab")


@pytest.fixture
def integration(workspace: Workspace) -> Integration:
    return save(workspace)


def newest(integration: Integration) -> ClientKey:
    key = Integration.objects.get(pk=integration.pk).client_key
    assert key is not None
    return key


def signer(integration: Integration, at: datetime) -> str:
    key = Integration.objects.get(pk=integration.pk).signing_client_key(at)
    assert key is not None
    return key.kid


def published(integration: Integration, at: datetime) -> list[str]:
    found = key_set(integration.pk, now=at)
    return [key["kid"] for key in found["keys"]] if found else []


def events(integration: Integration) -> list[str]:
    found = AuditEvent.objects.filter(target_id=str(integration.pk), action__startswith="client_key")
    return list(found.order_by("pk").values_list("action", flat=True))


# --- making ---------------------------------------------------------------------------------------------
def test_saving_the_method_makes_a_key_once_and_counts_as_configured(workspace: Workspace, spec: ProviderSpec) -> None:
    integration = save(workspace, method=None)
    assert not is_configured(spec, integration)
    integration = save(workspace)
    assert is_configured(spec, integration)
    key = newest(integration)
    assert (key.algorithm, key.workspace_id) == ("RS256", workspace.pk)
    assert newest(save(workspace, client_id="client-2")).pk == key.pk
    assert events(integration) == ["client_key:created"]


def test_a_secret_does_not_stand_in_for_the_key(workspace: Workspace, spec: ProviderSpec) -> None:
    integration = make_integration(workspace, "gitlab", token_endpoint_auth_method=JWT)
    assert integration.has_client_secret
    assert not is_configured(spec, integration)


def test_the_client_signs_with_the_key_and_brings_no_secret(workspace: Workspace, spec: ProviderSpec) -> None:
    integration = save(workspace, client_secret="s3cret-value")
    client = provider_for(spec, GrantType.AUTHORIZATION_CODE).client(integration)
    assert client.signing_key is not None
    assert public_jwk(client.signing_key) == newest(integration).public_jwk
    assert client.client_secret == ""
    other = provider_for(spec, GrantType.AUTHORIZATION_CODE).client(save(workspace, method="client_secret_post"))
    assert (other.client_secret, other.signing_key) == ("s3cret-value", None)


def test_the_first_key_ends_the_pause_of_a_refused_client(workspace: Workspace) -> None:
    """The definition came to want a key after the integration was saved, so nothing else changes with it."""
    integration = make_integration(
        workspace, "gitlab", token_endpoint_auth_method=JWT, client_secret=None, client_error_code="invalid_client"
    )
    save(workspace)
    integration.refresh_from_db()
    assert integration.client_error_code == ""


def test_a_secret_that_no_key_opens_does_not_stand_in_the_way(workspace: Workspace, spec: ProviderSpec) -> None:
    integration = save(workspace, client_secret="s3cret-value")
    lost = Integration.objects.get(pk=integration.pk)
    lost.client_secret = Sealed(Fernet(Fernet.generate_key()).encrypt(b"lost"))  # type: ignore[assignment]
    lost.save(update_fields=["client_secret"])
    found = Integration.objects.get(pk=integration.pk)
    with pytest.raises(crypto.SealError):
        assert found.client_secret
    assert provider_for(spec, GrantType.AUTHORIZATION_CODE).client(found).signing_key is not None


def test_a_key_needs_a_rotation_to_be_replaced(integration: Integration) -> None:
    with pytest.raises(KeyRefused):
        create_key(integration, actor=OPERATOR)
    assert ClientKey.objects.count() == 1


def test_the_database_holds_one_newest_key_per_integration(integration: Integration) -> None:
    key = newest(integration)
    again = ClientKey(
        workspace=integration.workspace, integration=integration, kid="k2", algorithm="RS256", public_jwk=key.public_jwk
    )
    again.private_key = "pem"  # type: ignore[assignment] # text in
    with pytest.raises(IntegrityError), transaction.atomic():
        again.save()


# --- rotating -------------------------------------------------------------------------------------------
def test_a_rotated_key_is_published_first_and_signs_later(integration: Integration) -> None:
    old, now = newest(integration).kid, timezone.now()
    new = rotate_key(integration, actor=OPERATOR, now=now).kid
    assert published(integration, now) == [new, old]
    signs = now + PUBLISHED_BEFORE_SIGNING
    assert [signer(integration, at) for at in (now, signs - SECOND, signs)] == [old, old, new]
    gone = now + OVERLAP
    assert published(integration, gone - SECOND) == [new, old]
    assert published(integration, gone) == [new]
    assert events(integration) == ["client_key:created", "client_key:rotated"]


def test_the_sweep_deletes_what_has_retired_and_nothing_else(integration: Integration) -> None:
    now = timezone.now()
    new = rotate_key(integration, actor=OPERATOR, now=now)
    sweep(now + OVERLAP - SECOND)
    assert ClientKey.objects.count() == 2
    sweep(now + OVERLAP)
    assert list(ClientKey.objects.values_list("pk", flat=True)) == [new.pk]


def test_rotations_in_a_row_keep_the_key_signing_that_servers_know(integration: Integration) -> None:
    old, now = newest(integration).kid, timezone.now()
    for minutes in range(MAX_PUBLISHED - 1):
        last = rotate_key(integration, actor=OPERATOR, now=now + timedelta(minutes=minutes)).kid
    assert signer(integration, now + timedelta(minutes=MAX_PUBLISHED)) == old
    assert signer(integration, now + timedelta(hours=1)) == last
    with pytest.raises(KeyRefused, match="Delete an old one"):
        rotate_key(integration, actor=OPERATOR, now=now + timedelta(hours=1))
    rotate_key(integration, actor=OPERATOR, now=now + timedelta(hours=25))


def test_the_algorithm_stays_unless_another_is_chosen(integration: Integration) -> None:
    assert rotate_key(integration, actor=OPERATOR, algorithm="ES256").algorithm == "ES256"
    assert rotate_key(integration, actor=OPERATOR).algorithm == "ES256"


def test_there_is_nothing_to_rotate_without_a_key(workspace: Workspace) -> None:
    with pytest.raises(KeyRefused, match="no key yet"):
        rotate_key(make_integration(workspace), actor=OPERATOR)


# --- deleting -------------------------------------------------------------------------------------------
def test_the_key_in_use_is_not_deleted_until_another_method_is_saved(
    workspace: Workspace, integration: Integration, spec: ProviderSpec
) -> None:
    with pytest.raises(KeyRefused):
        delete_key(newest(integration), spec, actor=OPERATOR)
    save(workspace, method="none")
    assert published(integration, timezone.now()), "switching away keeps the key"
    delete_key(newest(integration), spec, actor=OPERATOR)
    assert key_set(integration.pk, now=timezone.now()) is None
    assert events(integration)[-1] == "client_key:deleted"


def test_deleting_the_old_key_lets_the_new_one_sign_at_once(integration: Integration, spec: ProviderSpec) -> None:
    old, now = newest(integration), timezone.now()
    new = rotate_key(integration, actor=OPERATOR, now=now)
    delete_key(ClientKey.objects.get(pk=old.pk), spec, actor=OPERATOR)
    assert signer(integration, now) == new.kid
    assert published(integration, now) == [new.kid]


# --- sealed ---------------------------------------------------------------------------------------------
def test_the_private_key_is_sealed_and_survives_a_rotation_of_the_encryption_keys(
    integration: Integration, settings: Any
) -> None:
    before = newest(integration).signing_key()
    new = Fernet.generate_key()
    settings.FERNET_KEYS = [new, *settings.FERNET_KEYS]
    call_command("rotate_fernet_keys", stdout=StringIO())
    settings.FERNET_KEYS = [new]
    assert newest(integration).signing_key() == before


# --- the public key set ---------------------------------------------------------------------------------
def test_anybody_reads_the_key_set_and_finds_public_members_only(integration: Integration, client: Client) -> None:
    rotate_key(integration, actor=OPERATOR, algorithm="ES256")
    path = reverse("integrations:jwks", kwargs={"integration_id": integration.pk})
    assert jwks_uri(integration) == f"http://localhost:8000{path}"
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/jwk-set+json"
    assert answer["Cache-Control"] == "public, max-age=300"
    assert not answer.cookies
    assert "Cookie" not in answer.get("Vary", "")
    elliptic, rsa = answer.json()["keys"]
    assert set(rsa) == {"kty", "n", "e", "kid", "use", "alg"}
    assert set(elliptic) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert client.post(path).status_code == 405


def test_the_key_set_says_nothing_about_its_workspace(integration: Integration, client: Client) -> None:
    text = client.get(reverse("integrations:jwks", kwargs={"integration_id": integration.pk})).content.decode().lower()
    assert not [word for word in ("acme", "gitlab", "client-1", str(integration.workspace_id)) if word in text]


def test_an_unknown_integration_and_one_without_a_key_look_the_same(workspace: Workspace, client: Client) -> None:
    without = make_integration(workspace)
    answers = [client.get(reverse("integrations:jwks", kwargs={"integration_id": i})) for i in (without.pk, uuid4())]
    assert [answer.status_code for answer in answers] == [404, 404]
    first, second = (without_random(answer.content.decode()) for answer in answers)
    assert first == second
    assert "There is nothing here" in first


def without_random(text: str) -> str:
    """The page without its reference id and CSRF token."""
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[A-Za-z0-9]{64}\b", "", text)


# --- pages ----------------------------------------------------------------------------------------------
def page(name: str, workspace: Workspace, **more: Any) -> str:
    base = {"workspace": workspace.slug, "provider_id": "gitlab", "grant_type": "authorization_code"}
    return reverse(f"integrations:{name}", kwargs={**base, **more})


def test_the_configuration_makes_the_key_and_shows_what_to_register(as_alice: Client, workspace: Workspace) -> None:
    body = {"client_id": "client-1", "client_secret": "", "token_endpoint_auth_method": JWT}
    answer = as_alice.post(page("configuration", workspace), body)
    assert (answer.status_code, answer["Location"]) == (302, page("configuration", workspace) + "#client-key")
    integration = workspace.integrations.get()
    key = newest(integration)
    text = as_alice.get(page("configuration", workspace)).content.decode()
    assert jwks_uri(integration) in text
    assert key.kid in text
    assert "BEGIN PUBLIC KEY" in text
    assert "PRIVATE KEY" not in text
    assert page("client_key_rotate", workspace) in text
    assert page("client_key_delete", workspace, client_key_id=key.pk) not in text, "it is in use"


def test_a_secret_is_asked_for_again_when_the_method_needs_one(
    as_alice: Client, workspace: Workspace, integration: Integration
) -> None:
    body = {"client_id": "client-1", "client_secret": "", "token_endpoint_auth_method": "client_secret_basic"}
    answer = as_alice.post(page("configuration", workspace), body)
    assert answer.status_code == 422
    assert answer.context["form"].has_error("client_secret")
    answer = as_alice.post(page("configuration", workspace), {**body, "client_secret": "s3cret-value"})
    assert answer.status_code == 302
    text = as_alice.get(page("configuration", workspace)).content.decode()
    assert "Not in use" in text
    assert page("client_key_delete", workspace, client_key_id=newest(integration).pk) in text


def test_rotating_on_the_page_names_the_consequences_first(
    as_alice: Client, workspace: Workspace, integration: Integration
) -> None:
    old = newest(integration)
    shown = as_alice.get(page("client_key_rotate", workspace)).content.decode()
    assert "10 minutes" in shown
    assert "1 day" in shown
    assert ClientKey.objects.count() == 1
    assert as_alice.post(page("client_key_rotate", workspace), {"algorithm": "HS256"}).status_code == 422
    answer = as_alice.post(page("client_key_rotate", workspace), {"algorithm": "ES256"}, follow=True)
    text = answer.content.decode()
    new = newest(integration)
    assert new.algorithm == "ES256"
    assert new.kid in text
    assert f"{old.kid[:12]}…" in text
    assert "signs now" in text
    answer = as_alice.post(page("client_key_delete", workspace, client_key_id=old.pk), follow=True)
    assert f"{old.kid[:12]}…" not in answer.content.decode()


def test_the_page_refuses_to_delete_the_key_in_use(
    as_alice: Client, workspace: Workspace, integration: Integration
) -> None:
    answer = as_alice.post(page("client_key_delete", workspace, client_key_id=newest(integration).pk), follow=True)
    assert "This key is in use" in answer.content.decode()
    assert ClientKey.objects.count() == 1


@pytest.mark.parametrize("role", [Role.VIEWER, Role.EDITOR])
def test_members_see_the_public_key_and_change_nothing(
    role: Role, workspace: Workspace, integration: Integration, client: Client
) -> None:
    user = make_user()
    make_member(workspace, user, role)
    client.force_login(user)
    text = client.get(page("configuration", workspace)).content.decode()
    assert jwks_uri(integration) in text
    assert "Rotate key" not in text
    key_id = newest(integration).pk
    for address in (
        page("client_key_rotate", workspace),
        page("client_key_delete", workspace, client_key_id=key_id),
    ):
        assert client.post(address, {"algorithm": "RS256"}).status_code == 403
    assert [key.pk for key in ClientKey.objects.all()] == [key_id]


@pytest.mark.parametrize("address", ["/w/acme/integrations/", "/api/v1/integrations"])
def test_lists_read_all_keys_at_once(address: str, as_alice: Client, workspace: Workspace) -> None:
    headers = {"Authorization": f"Bearer {make_key(workspace)}"}

    def queries() -> int:
        as_alice.get(address, headers=headers)  # the key's last use is written once a minute
        with CaptureQueriesContext(connection) as seen:
            assert as_alice.get(address, headers=headers).status_code == 200
        return len(seen)

    save(workspace)
    before = queries()
    for provider_id in ("github", "slack", "notion"):
        create_key(make_integration(workspace, provider_id, token_endpoint_auth_method=JWT), actor=OPERATOR)
    assert queries() == before


def test_another_workspace_with_the_same_provider_sees_none_of_it(
    integration: Integration, charlie: User, client: Client
) -> None:
    theirs = charlie.memberships.get().workspace
    make_integration(theirs, "gitlab", token_endpoint_auth_method="client_secret_basic")
    client.force_login(charlie)
    text = client.get(page("configuration", theirs)).content.decode()
    assert "Client key" not in text
    assert str(integration.pk) not in text
    key_id = newest(integration).pk
    assert client.post(page("client_key_delete", theirs, client_key_id=key_id)).status_code == 404
    assert client.post(page("client_key_rotate", theirs), {"algorithm": "RS256"}).status_code == 404
    assert ClientKey.objects.count() == 1


def test_a_key_moved_to_another_workspace_is_refused(integration: Integration) -> None:
    key = newest(integration)
    ClientKey.objects.filter(pk=key.pk).update(workspace=make_workspace())
    with pytest.raises(crypto.SealError):
        ClientKey.objects.get(pk=key.pk).signing_key()


@pytest.mark.django_db(transaction=True)
def test_rotations_at_the_same_moment_follow_each_other(workspace: Workspace) -> None:
    integration = save(workspace)
    together = threading.Barrier(3)

    def rotate(_: int) -> str:
        try:
            together.wait(20)
            return rotate_key(integration, actor=OPERATOR).kid
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as pool:
        made = set(pool.map(rotate, range(3)))
    assert len(made) == 3
    assert newest(integration).kid in made
    assert len(published(integration, timezone.now())) == 4
