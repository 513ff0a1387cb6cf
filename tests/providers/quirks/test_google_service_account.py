"""Google's service accounts: a JSON key, an assertion signed with it, a person to act as (RFC 7523 §2.1, §4)."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection as database
from django.test import Client
from joserfc import jwt
from joserfc.jwk import RSAKey

from integrations.connections.choices import ChoicesRefused
from integrations.connections.errors import sentence
from integrations.models import ConnectionState, GrantType, Integration
from integrations.oauth.errors import ClientRefused, ConfigurationRefused, OAuthError
from integrations.oauth.jwt_bearer import JWT_BEARER
from integrations.providers.catalogue import catalogue
from integrations.providers.deviations.google import GoogleServiceAccountProvider
from integrations.providers.oauth_provider import provider_for
from integrations.providers.registry import find_spec
from integrations.providers.service_account_key import MAX_KEY_LENGTH, KeyRefused, read_key_file
from integrations.providers.setup import InvalidSetup, is_configured, save_integration
from tests.api.client import ApiClient, make_key
from tests.factories import make_connection
from tests.providers.quirks.conftest import NOW, Flow, answer
from tests.servers.scripted import Answer
from workspaces.audit import Actor
from workspaces.models import Workspace

SERVICE = GrantType.CLIENT_CREDENTIALS
TOKEN_URI = "https://oauth2.googleapis.com/token"
TOKEN = "/oauth2.googleapis.com/token"
EMAIL = "robot@acme.iam.gserviceaccount.com"
CLOUD = "https://www.googleapis.com/auth/cloud-platform"
PAGE = "/w/acme/integrations/google/client_credentials/configuration/"


@cache
def private_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def pem(key: Any = None) -> str:
    key = key or private_key()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def key_file(**changes: Any) -> str:
    """A key file as it is downloaded; a change to None leaves a field out."""
    fields = {
        "type": "service_account",
        "project_id": "acme",
        "private_key_id": "0123456789abcdef",
        "private_key": pem(),
        "client_email": EMAIL,
        "client_id": "1171",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": TOKEN_URI,
        "universe_domain": "googleapis.com",
        **changes,
    }
    return json.dumps({name: value for name, value in fields.items() if value is not None}, indent=2)


def save(workspace: Workspace, text: str | None, **more: Any) -> Integration:
    spec = find_spec(workspace, "google")
    values = {"client_id": "", "client_secret": text, "actor": Actor.operator(), **more}
    return save_integration(workspace, spec, SERVICE, **values)


# --- the token ------------------------------------------------------------------------------------------
@pytest.fixture
def flow(builtin: Callable[..., Flow], workspace: Workspace) -> Flow:
    """google.yaml on a local server, with a key saved for it."""
    made = builtin("google", grant_type=SERVICE)
    made.integration.delete()
    server = made.server.url
    made.integration = save(workspace, key_file(token_uri=f"{server}{TOKEN}"))
    made.server.answer(TOKEN, json=answer("ya29.a", None, expires_in=3599))
    return made


def assertion(flow: Flow) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of the assertion that was sent last; its signature is verified."""
    public = RSAKey.import_key(private_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    token = jwt.decode(flow.last(TOKEN).form["assertion"], public, algorithms=["RS256"])
    return token.header, token.claims


def test_an_assertion_signed_with_the_key_is_the_grant(flow: Flow) -> None:
    connection = flow.fetch(additional_scopes=["https://www.googleapis.com/auth/bigquery"])
    request = flow.last(TOKEN)
    assert set(request.form) == {"grant_type", "assertion"}
    assert request.form["grant_type"] == JWT_BEARER == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert "authorization" not in request.headers
    header, claims = assertion(flow)
    assert header == {"alg": "RS256", "kid": "0123456789abcdef", "typ": "JWT"}
    assert claims == {
        "iss": EMAIL,
        "scope": f"{CLOUD} https://www.googleapis.com/auth/bigquery",
        "aud": f"{flow.server.url}{TOKEN}",
        "iat": int(NOW.timestamp()),
        "exp": int(NOW.timestamp()) + 3600,
    }
    assert connection.token.open().access_token == "ya29.a"
    assert connection.token.expires_at == NOW + timedelta(seconds=3599)


def test_it_renews_itself_with_a_new_assertion(flow: Flow) -> None:
    connection = flow.fetch()
    assert connection.schedule.refresh_due_at is not None
    later = NOW + timedelta(minutes=55)
    assert flow.refresh(connection, now=later).refreshed
    assert assertion(flow)[1]["iat"] == int(later.timestamp())


def test_connections_act_as_different_people_side_by_side(flow: Flow) -> None:
    flow.fetch(name="ada", parameters={"subject": "ada@acme.test"})
    assert assertion(flow)[1]["sub"] == "ada@acme.test"
    flow.fetch(name="bob", parameters={"subject": "bob@acme.test"})
    assert assertion(flow)[1]["sub"] == "bob@acme.test"
    flow.fetch(name="itself")
    assert "sub" not in assertion(flow)[1]


@pytest.mark.parametrize("subject", ["ada", "ada@acme.test,bob@acme.test", "@", "ada@acme test"])
def test_a_subject_is_an_address(flow: Flow, subject: str) -> None:
    with pytest.raises(ChoicesRefused) as caught:
        flow.fetch(parameters={"subject": subject})
    assert list(caught.value.errors) == ["parameters.subject"]
    assert flow.server.requests == []


@pytest.mark.parametrize(
    "said",
    [
        {"error": "unauthorized_client", "error_description": "Client is unauthorized to retrieve access tokens."},
        {"error": "invalid_grant", "error_description": "Invalid email or User ID"},
    ],
)
def test_a_refused_subject_concerns_its_connection_alone(flow: Flow, said: Any) -> None:
    connection = flow.fetch(parameters={"subject": "ada@acme.test"})
    flow.server.forget()
    flow.server.answer(TOKEN, status=401, json=said)
    outcome = flow.refresh(connection, now=NOW + timedelta(minutes=55))
    assert (outcome.code, outcome.message) == ("subject_refused", sentence("subject_refused"))
    assert flow.again(connection.pk).state == ConnectionState.MISCONFIGURED
    flow.integration.refresh_from_db()
    assert flow.integration.client_error_code == ""


def test_a_refused_key_concerns_the_whole_integration(flow: Flow) -> None:
    flow.server.forget()
    flow.server.answer(
        TOKEN, status=400, json={"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
    )
    with pytest.raises(ClientRefused):
        flow.fetch(parameters={"subject": "ada@acme.test"})
    flow.integration.refresh_from_db()
    assert flow.integration.client_error_code == "invalid_grant"


def test_an_assertion_that_the_answer_echoes_is_blotted_out(flow: Flow) -> None:
    def echo(request: Any) -> Any:
        return Answer(400, json.dumps({"error": "x", "error_description": request.form["assertion"]}).encode())

    flow.server.forget()
    flow.server.respond(TOKEN, echo)
    with pytest.raises(OAuthError) as caught:
        flow.fetch()
    assert flow.last(TOKEN).form["assertion"][:40] not in caught.value.description


def test_a_stored_key_that_cannot_be_read_is_no_crash(flow: Flow) -> None:
    flow.integration.client_secret = "not a key"
    flow.integration.save()
    with pytest.raises(ConfigurationRefused) as caught:
        flow.fetch()
    assert caught.value.code == "unusable_service_account_key"


def test_every_file_with_such_a_key_has_the_class() -> None:
    found = [spec for spec in catalogue().values() if spec.uses_service_account_key(SERVICE) and spec.supports(SERVICE)]
    assert {spec.provider_id for spec in found} >= {"google", "google_docs", "google_sheets"}
    for spec in found:
        assert type(provider_for(spec, SERVICE)) is GoogleServiceAccountProvider
        assert {"subject"} <= {parameter.key for parameter in spec.under(SERVICE).parameters}
        people = spec.under(GrantType.AUTHORIZATION_CODE).parameters
        assert "subject" not in {parameter.key for parameter in people}, "people act as themselves"


# --- saving the key -------------------------------------------------------------------------------------
def test_the_key_is_sealed_and_the_account_shown(workspace: Workspace) -> None:
    integration = save(workspace, key_file())
    assert integration.client_id == EMAIL
    assert is_configured(find_spec(workspace, "google"), integration)
    marker = pem().splitlines()[3]
    assert marker in str(integration.client_secret)
    with database.cursor() as cursor:
        cursor.execute(f'SELECT * FROM "{Integration._meta.db_table}"')  # noqa: S608 (a name of ours)
        assert marker not in str([[bytes(v) if isinstance(v, memoryview) else v for v in row] for row in cursor])


def test_blank_keeps_the_key_and_another_key_replaces_account_and_key(workspace: Workspace) -> None:
    save(workspace, key_file())
    assert save(workspace, "", client_id="somebody@else.test").client_id == EMAIL
    other = "other@acme.iam.gserviceaccount.com"
    changed = save(workspace, key_file(client_email=other))
    assert (changed.client_id, other in str(changed.client_secret)) == (other, True)


def test_without_a_key_nothing_is_saved(workspace: Workspace) -> None:
    with pytest.raises(InvalidSetup) as caught:
        save(workspace, None, client_id=EMAIL)
    assert "Upload the JSON key" in caught.value.errors["client_secret"][0]
    assert not workspace.integrations.exists()


def test_a_cleared_key_leaves_the_integration_not_configured(workspace: Workspace) -> None:
    save(workspace, key_file())
    assert not is_configured(find_spec(workspace, "google"), save(workspace, None, clear_client_secret=True))


def test_people_of_the_same_provider_have_a_client_secret(workspace: Workspace) -> None:
    spec = find_spec(workspace, "google_docs")
    saved = save_integration(
        workspace,
        spec,
        GrantType.AUTHORIZATION_CODE,
        client_id="app",
        client_secret="GOCSPX-secret",
        actor=Actor.operator(),
    )
    assert (saved.client_id, saved.client_secret) == ("app", "GOCSPX-secret")


BAD_FILES: list[tuple[str, str]] = [
    ("{", "This is not JSON"),
    ("[" * 5000, "This is not JSON"),
    ('"text"', "JSON without fields"),
    ("[]", "JSON without fields"),
    (key_file(type="authorized_user"), "“type” of the file is not “service_account”"),
    (json.dumps({"web": {"client_id": "x", "client_secret": "y"}}), "of an OAuth client, which is for people"),
    (key_file(private_key=None), "“private_key” is missing"),
    (key_file(private_key="-----BEGIN PRIVATE KEY-----\nMII"), "“private_key” of the file cannot be read"),
    (key_file(private_key=7), "“private_key” of the file cannot be read"),
    (key_file(private_key="ключ"), "“private_key” of the file cannot be read"),
    (key_file(private_key=pem(ec.generate_private_key(ec.SECP256R1()))), "not an RSA key of at least 2048 bits"),
    (key_file(private_key=pem(private_key(1024))), "not an RSA key of at least 2048 bits"),
    (key_file(private_key_id=None), "“private_key_id” is missing"),
    (key_file(private_key_id="a b"), "“private_key_id” of the file is not"),
    (key_file(client_email=None), "“client_email” is missing"),
    (key_file(client_email="robot\n@acme.test"), "“client_email” of the file is not"),
    (key_file(token_uri=None), f"“token_uri” of the file is not {TOKEN_URI}"),
    (key_file(token_uri="https://evil.test/token"), f"“token_uri” of the file is not {TOKEN_URI}"),
    (key_file(padding="x" * MAX_KEY_LENGTH), "at most 16 KB"),
]


@pytest.mark.parametrize(("text", "words"), BAD_FILES, ids=[words for _, words in BAD_FILES])
def test_a_bad_file_is_refused_by_field_and_never_quoted(workspace: Workspace, text: str, words: str) -> None:
    with pytest.raises(InvalidSetup) as caught:
        save(workspace, text)
    said = " ".join(caught.value.errors["client_secret"])
    assert words in said
    assert "evil" not in said
    assert "BEGIN" not in said
    assert not workspace.integrations.exists()


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(KeyRefused) as caught:
        read_key_file(key_file(client_email=None, private_key=None, token_uri="x"), token_endpoint=TOKEN_URI)
    assert len(caught.value.sentences) == 3


# --- page and API ---------------------------------------------------------------------------------------
def upload(text: str | bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile("key.json", text if isinstance(text, bytes) else text.encode(), "application/json")


def test_the_page_takes_the_file(as_alice: Client, workspace: Workspace) -> None:
    saved = as_alice.post(PAGE, {"key_file": upload(key_file()), "client_secret": ""})
    assert saved.status_code == 302, saved.content
    assert workspace.integrations.get().client_id == EMAIL
    page = as_alice.get(PAGE).content.decode()
    assert EMAIL in page
    assert "…cdef" in page  # the end of the key's id
    assert pem().splitlines()[3] not in page


def test_the_page_takes_the_file_where_people_have_a_client_secret(as_alice: Client, workspace: Workspace) -> None:
    page = PAGE.replace("/google/", "/google_docs/")
    assert as_alice.post(page, {"key_file": upload(key_file()), "client_secret": ""}).status_code == 302
    assert workspace.integrations.get().client_id == EMAIL
    for_people = as_alice.get(page.replace("client_credentials", "authorization_code")).content.decode()
    assert 'name="client_id"' in for_people
    assert "Act as" not in for_people


def test_the_page_takes_what_was_pasted_with_act_as(as_alice: Client, workspace: Workspace) -> None:
    saved = as_alice.post(PAGE, {"client_secret": key_file(), "param_subject": "ada@acme.test"})
    assert saved.status_code == 302, saved.content
    integration = workspace.integrations.get()
    assert (integration.client_id, integration.parameters) == (EMAIL, {"subject": "ada@acme.test"})


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({}, "Choose the JSON key file"),
        ({"client_secret": "{"}, "This is not JSON"),
        ({"key_file": upload(b"\xff\xfe"), "client_secret": ""}, "This file is not text"),
        ({"key_file": upload("{" + " " * MAX_KEY_LENGTH), "client_secret": ""}, "at most 16 KB"),
        ({"key_file": upload("{" + " " * 100_000), "client_secret": ""}, "at most 16 KB"),  # dropped while it came
        ({"key_file": upload("{}"), "client_secret": "{}"}, "not both"),
        ({"client_secret": key_file(), "param_subject": "nobody"}, "Act as does not have the expected form"),
    ],
)
def test_the_page_says_what_is_wrong(as_alice: Client, workspace: Workspace, form: Any, words: str) -> None:
    page = as_alice.post(PAGE, form)
    assert page.status_code == 422
    text = page.content.decode()
    assert words in text
    assert "BEGIN PRIVATE KEY" not in text
    assert not workspace.integrations.exists()


def test_a_file_that_was_dropped_on_its_way_does_not_pass_for_the_stored_one(
    as_alice: Client, workspace: Workspace
) -> None:
    save(workspace, key_file())
    page = as_alice.post(PAGE, {"key_file": upload("{" + " " * 100_000), "client_secret": ""})
    assert page.status_code == 422
    assert "at most 16 KB" in page.content.decode()


def test_the_page_asks_for_no_client_id(as_alice: Client, workspace: Workspace) -> None:
    page = as_alice.get(PAGE).content.decode()
    assert 'name="key_file"' in page
    assert 'enctype="multipart/form-data"' in page
    assert 'name="client_id"' not in page
    assert page.count('<span class="g-optional">') == 1  # "Act as"; of the other two fields one is needed
    assert "token_endpoint_auth_method" not in page


def test_an_editor_sees_whether_a_key_is_stored(as_alice: Client, workspace: Workspace) -> None:
    integration = save(workspace, key_file())
    make_connection(integration, refresh_token=None)
    page = as_alice.get(PAGE).content.decode()
    assert "Remove the stored key" in page
    blank = as_alice.post(PAGE, {"client_secret": "", "param_subject": ""})
    assert blank.status_code == 302
    integration.refresh_from_db()
    assert integration.has_client_secret


def test_the_api_takes_the_key_as_the_client_secret(workspace: Workspace) -> None:
    api = ApiClient(make_key(workspace))
    saved = api.put("/integrations/google/client_credentials", {"client_secret": key_file()})
    assert saved.status_code == 200, saved.content
    shown = saved.json()
    assert (shown["client_id"], shown["status"], shown["has_client_secret"]) == (EMAIL, "configured", True)
    assert "PRIVATE KEY" not in saved.content.decode()
    kept = api.put("/integrations/google/client_credentials", {"additional_scopes": [f"{CLOUD}.read-only"]})
    assert (kept.status_code, kept.json()["client_id"]) == (200, EMAIL)


def test_the_api_names_what_is_wrong_with_a_key(workspace: Workspace) -> None:
    api = ApiClient(make_key(workspace))
    refused = api.put("/integrations/google/client_credentials", {"client_secret": key_file(private_key=None)})
    assert refused.status_code == 422
    [error] = refused.json()["errors"]
    assert (error["field"], "“private_key” is missing" in error["message"]) == ("client_secret", True)
