"""Attempts to have stored secrets sent, shown or stored where they do not belong."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.db import connection as database
from django.test import Client

from integrations.connections.authorization import start_authorization
from integrations.connections.completion import complete_authorization
from integrations.connections.errors import FlowRefused
from integrations.crypto import SealError, open_sealed
from integrations.models import Connection, Integration, PendingAuthorization, Token
from integrations.oauth.errors import ClientRefused, OAuthError
from integrations.providers.custom import update_custom_provider
from tests.api.client import ApiClient, make_key
from tests.factories import make_connection, make_integration
from tests.security.conftest import token_answer
from tests.security.evidence import database_text
from tests.servers.scripted import ScriptedServer
from workspaces.audit import Actor
from workspaces.models import User, Workspace
from workspaces.roles import Role

pytestmark = pytest.mark.django_db


# --- moving a provider's endpoints ----------------------------------------------------------------------
HOSTED = {
    "authorization_endpoint": "https://{{host}}/authorize",
    "token_endpoint": "https://{{host}}/token",
    "revocation_endpoint": "",
    "userinfo_endpoint": "",
    "parameters": [{"label": "Host", "key": "host", "default": "good.example"}],
}


def test_another_default_host_clears_the_secret_as_another_endpoint_does(
    define: Callable[..., str], workspace: Workspace
) -> None:
    """The template stays as it is; what fills it changes, and with it whoever is sent the secret."""
    integration = make_integration(workspace, define(**HOSTED))
    make_connection(integration)
    provider = workspace.custom_providers.get()
    parameters = [{"label": "Host", "key": "host", "default": "evil.example"}]
    update_custom_provider(provider, {"parameters": parameters}, actor=Actor.operator())
    integration.refresh_from_db()
    assert not integration.has_client_secret
    assert not Token.objects.exists()
    assert Connection.objects.get().last_error_code == "endpoint_changed"


def test_another_default_of_what_decides_no_host_keeps_it(define: Callable[..., str], workspace: Workspace) -> None:
    region = {"label": "Region", "key": "region", "default": "eu"}
    regional = {**HOSTED, "authorization_endpoint": "https://good.example/a", "parameters": [region]}
    regional["token_endpoint"] = "https://{{region}}.api.good.example/token"
    integration = make_integration(workspace, define(**regional))
    provider = workspace.custom_providers.get()
    update_custom_provider(provider, {"parameters": [{**region, "default": "us"}]}, actor=Actor.operator())
    integration.refresh_from_db()
    assert integration.has_client_secret


# --- what a provider says back --------------------------------------------------------------------------
@pytest.mark.parametrize("padding", range(440, 500, 7))
def test_a_secret_that_our_own_cut_shortens_is_blanked_all_the_same(padding: int) -> None:
    secret = "s3cret-" + "x9" * 30
    text = "p" * padding + secret
    error = ClientRefused("invalid_client", text, text, status=401).without((secret,))
    for shown in (error.description, error.uri):
        assert "s3cret" not in shown
        assert "x9x9" not in shown


@pytest.mark.parametrize("padding", range(30, 100, 9))
def test_nor_does_it_stay_in_a_code(padding: int) -> None:
    secret = "s3cret-" + "x9" * 30
    error = OAuthError("c" * padding + secret).without((secret,))
    assert "s3cret" not in error.code
    assert "s3cret" not in str(error)


def test_an_echo_in_the_callback_is_blanked_too(delegated: Integration, alice: User) -> None:
    """A provider that quotes its client's secret to the browser: it does not become a row of ours."""
    started = start_authorization(delegated, binding="b", user=alice, actor=Actor.member(alice))
    said = [("error", "access_denied"), ("error_description", "bad client-secret-value"), ("state", started.state)]
    outcome = complete_authorization(said, binding="b", user=alice)
    assert outcome.code == "access_denied"
    assert "client-secret-value" not in outcome.provider_text
    assert "client-secret-value" not in json.dumps(PendingAuthorization.objects.get().outcome)


def test_an_account_whose_name_is_the_token_has_no_name(
    delegated: Integration, alice: User, provider_server: ScriptedServer
) -> None:
    provider_server.answer("/token", json=token_answer("canary-access-token", "canary-refresh-token"))
    provider_server.answer(
        "/userinfo", json={"sub": "canary-access-token", "email": "x-canary-refresh-token@a.example"}
    )
    started = start_authorization(delegated, binding="b", user=alice, actor=Actor.member(alice))
    outcome = complete_authorization([("code", "c"), ("state", started.state)], binding="b", user=alice)
    assert outcome.ok
    assert [place for place, text in database_text() if "canary-" in text] == []


# --- at rest --------------------------------------------------------------------------------------------
def test_second_factors_are_encrypted_in_the_database(alice: User) -> None:
    """Whoever reads a copy of the database must not be able to make somebody's codes."""
    from allauth.mfa.models import Authenticator
    from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
    from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value, yield_hotp_counters_from_time

    secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    totp = TOTP.activate(alice, secret)
    codes = RecoveryCodes.activate(alice)
    assert secret not in str([text for _, text in database_text()])
    stored = Authenticator.objects.get(type=Authenticator.Type.RECOVERY_CODES).data["seed"]
    assert stored.startswith("gAAAA")
    code = format_hotp_value(hotp_value(secret, next(iter(yield_hotp_counters_from_time()))))
    assert totp.validate_code(code)
    assert len(codes.generate_codes()) == 10


def test_key_rotation_takes_second_factors_along(alice: User, settings: Any) -> None:
    from allauth.mfa.models import Authenticator
    from allauth.mfa.totp.internal.auth import TOTP
    from allauth.mfa.utils import decrypt
    from cryptography.fernet import Fernet
    from django.core.management import call_command

    secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    TOTP.activate(alice, secret)
    new = Fernet.generate_key()
    settings.FERNET_KEYS = [new, *settings.FERNET_KEYS]
    call_command("rotate_fernet_keys")
    settings.FERNET_KEYS = [new]
    assert open_sealed(Authenticator.objects.get().data["secret"].encode(), "second-factor") == secret
    assert decrypt(Authenticator.objects.get().data["secret"]) == secret


# --- password parameters on pages -----------------------------------------------------------------------
def test_a_password_parameter_is_shown_to_nobody_and_kept_when_left_blank(
    define: Callable[..., str], workspace: Workspace, sign_in: Callable[[Role], Client]
) -> None:
    parameters = [
        {"label": "Key", "key": "key", "type": "password"},
        {"label": "Region", "key": "region", "type": "text"},
    ]
    provider_id = define(parameters=parameters)
    integration = make_integration(workspace, provider_id, parameters={"key": "canary-of-all"})
    make_connection(integration, parameters={"key": "canary-of-one", "region": "eu-central", "gone": "canary-of-old"})
    base = f"/w/acme/integrations/{provider_id}/authorization_code"
    for role in (Role.VIEWER, Role.EDITOR, Role.ADMIN):
        browser = sign_in(role)
        for tab in ("", "configuration/", "scopes/", "connections/", "connections/new/", "activity/"):
            assert "canary-" not in browser.get(f"{base}/{tab}").content.decode(), (role, tab)
    assert "eu-central" in browser.get(f"{base}/").content.decode()
    assert browser.post(f"{base}/configuration/", {"client_id": "client-1", "p-key": ""}).status_code == 302
    integration.refresh_from_db()
    assert integration.parameters == {"key": "canary-of-all"}


def test_password_parameters_are_encrypted_wherever_they_are_kept(
    define: Callable[..., str], workspace: Workspace, provider_server: ScriptedServer, alice: User
) -> None:
    provider_id = define(
        token_endpoint=f"{provider_server.url}/token?k={{{{key}}}}",
        parameters=[{"label": "Key", "key": "key", "type": "password"}],
    )
    api = ApiClient(make_key(workspace))
    one = f"/integrations/{provider_id}/authorization_code"
    saved = {"client_id": "c", "client_secret": "s", "parameters": {"key": "canary-of-integration"}}
    assert api.put(one, saved).status_code == 200
    link = {"connection": "l", "parameters": {"key": "canary-of-link"}}
    assert api.post(f"{one}/connect-links", link).status_code == 201
    integration = Integration.objects.get()
    started = start_authorization(
        integration, binding="b", user=alice, parameters={"key": "canary-of-connection"}, actor=Actor.member(alice)
    )
    provider_server.answer("/token", json=token_answer())
    provider_server.answer("/userinfo", json={"sub": "1"})
    outcome = complete_authorization([("code", "c"), ("state", started.state)], binding="b", user=alice)
    assert outcome.ok, outcome.code
    assert provider_server.to("/token")[0].query == "k=canary-of-connection"
    assert sorted({place for place, text in database_text() if "canary-of" in text}) == []


def test_parameters_that_no_key_opens_stop_nothing_else_and_are_kept(
    define: Callable[..., str], workspace: Workspace, alice: User, settings: Any, sign_in: Callable[[Role], Client]
) -> None:
    provider_id = define(parameters=[{"label": "Key", "key": "key", "type": "password"}])
    integration = make_integration(workspace, provider_id, parameters={"key": "of-all"})
    connection = make_connection(integration, parameters={"key": "of-one"})
    keys = list(settings.FERNET_KEYS)
    settings.FERNET_KEYS = [Fernet.generate_key()]
    base = f"/w/acme/integrations/{provider_id}/authorization_code"
    for tab in ("", "configuration/", "scopes/", "connections/", "connections/new/", "activity/"):
        assert sign_in(Role.ADMIN).get(f"{base}/{tab}").status_code == 200, tab
    assert sign_in(Role.ADMIN).post(f"{base}/connect/").status_code == 302
    assert sign_in(Role.ADMIN).post(f"{base}/scopes/", {"additional_scopes": "write"}).status_code == 302
    with pytest.raises(FlowRefused) as refused:
        start_authorization(integration, binding="b", user=alice, connection=connection, actor=Actor.member(alice))
    assert refused.value.code == "undecryptable"
    settings.FERNET_KEYS = keys
    assert Integration.objects.get().parameters == {"key": "of-all"}
    assert Connection.objects.get().parameters == {"key": "of-one"}


def test_parameters_of_one_row_cannot_be_copied_into_another(define: Callable[..., str], workspace: Workspace) -> None:
    """Somebody who can write to the database puts another tenant's ciphertext into a row of their own."""
    integration = make_integration(workspace, define())
    theirs, mine = (make_connection(integration, name, parameters={"key": name}) for name in ("theirs", "mine"))
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE integrations_connection SET sealed_parameters = "
            "(SELECT sealed_parameters FROM integrations_connection WHERE name = 'theirs') WHERE name = 'mine'"
        )
    with pytest.raises(SealError):
        _ = Connection.objects.get(pk=mine.pk).parameters
    assert Connection.objects.get(pk=theirs.pk).parameters == {"key": "theirs"}
