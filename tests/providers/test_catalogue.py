"""Every file of the catalogue can be used as it stands."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.checks import run_checks

from integrations.models import GrantType
from integrations.oauth.grants import authorization_url
from integrations.oauth.scopes import check_scopes
from integrations.providers.base import ClientAuth
from integrations.providers.catalogue import catalogue
from integrations.providers.definition import definition_of, read_catalogue_definition
from integrations.providers.oauth_provider import provider_for
from integrations.providers.parameters import connection_parameters, parameter_values
from integrations.providers.rendering import placeholders

SANDBOX = "http://127.0.0.1:8001"
# Parameters without a default need a value to be rendered.
EXAMPLES = {"jamf": {"instance": "acme"}}
EXPECTED_BASE_SCOPES = {
    ("github", "authorization_code"): ("repo",),
    ("slack", "authorization_code"): ("search:read",),
    ("google_drive", "authorization_code"): (
        "https://www.googleapis.com/auth/drive.file",
        "https://www.googleapis.com/auth/drive.metadata",
        "https://www.googleapis.com/auth/drive.readonly",
        "https://www.googleapis.com/auth/drive",
    ),
    ("google_gmail", "authorization_code"): (
        "https://www.googleapis.com/auth/gmail.labels",
        "https://www.googleapis.com/auth/gmail.metadata",
        "https://www.googleapis.com/auth/gmail.modify",
        "https://www.googleapis.com/auth/gmail.readonly",
    ),
    ("microsoft_graph", "authorization_code"): ("offline_access", "https://graph.microsoft.com/User.Read"),
    ("microsoft_graph", "client_credentials"): ("https://graph.microsoft.com/.default",),
    ("sandbox", "authorization_code"): ("profile",),
    ("sandbox", "client_credentials"): ("profile",),
}
IDS = (
    "github",
    "gitlab",
    "google_drive",
    "google_gmail",
    "jamf",
    "jira",
    "microsoft_graph",
    "notion",
    "salesforce",
    "sandbox",
    "slack",
)


@pytest.fixture(autouse=True)
def _sandbox(settings: Any) -> None:
    settings.SANDBOX_BASE_URL = SANDBOX


def test_the_catalogue_has_these_providers() -> None:
    assert tuple(sorted(catalogue())) == IDS


def test_the_sandbox_is_there_only_while_it_is_configured(settings: Any) -> None:
    assert catalogue()["sandbox"].token_endpoint == f"{SANDBOX}/o/token/"
    assert catalogue()["sandbox"].issuer == SANDBOX
    settings.SANDBOX_BASE_URL = ""
    assert "sandbox" not in catalogue()


def test_the_system_check_finds_nothing_wrong() -> None:
    assert run_checks(tags=["catalogue"]) == []


@pytest.mark.parametrize("provider_id", IDS)
def test_endpoints_render_without_leftovers(provider_id: str) -> None:
    spec = catalogue()[provider_id]
    values = parameter_values(spec, {}, EXAMPLES.get(provider_id, {}))
    for grant_type in spec.grant_types:
        server = provider_for(spec, grant_type).server(values)
        endpoints = (server.token_endpoint, server.authorization_endpoint, server.userinfo_endpoint)
        for url in (*endpoints, server.revocation_endpoint, provider_for(spec, grant_type).api_base_url(values)):
            assert not placeholders(url)
            assert url == "" or urlsplit(url).scheme == ("http" if provider_id == "sandbox" else "https")
        assert server.token_endpoint
        assert bool(server.authorization_endpoint) == (grant_type == GrantType.AUTHORIZATION_CODE)


@pytest.mark.parametrize("provider_id", [i for i in IDS if i != "jamf"])
def test_the_authorization_url_carries_scopes_and_extra_parameters(provider_id: str) -> None:
    spec = catalogue()[provider_id]
    provider = provider_for(spec, "authorization_code")
    server = provider.server(parameter_values(spec, {}, {}))
    scopes = provider.effective_scopes(integration_additional=[])
    url = authorization_url(
        server,
        "client-1",
        redirect_uri="https://grantry.test/oauth/callback",
        scopes=scopes,
        state="s",
        code_verifier="v" * 43 if server.pkce == "S256" else None,
    )
    query = parse_qs(urlsplit(url).query)
    assert query["client_id"] == ["client-1"]
    assert ("code_challenge" in query) == (spec.pkce == "S256")
    for name, value in spec.authorization_params.items():
        assert query[name] == [value]
    if scopes:
        assert query[spec.scope_parameter] == [spec.scope_separator.join(scopes)]


def test_slack_sends_its_scopes_as_user_scope_and_reads_the_nested_token() -> None:
    spec = catalogue()["slack"]
    server = provider_for(spec, "authorization_code").server({})
    url = authorization_url(
        server,
        "c",
        redirect_uri="https://g.test/cb",
        scopes=["search:read", "chat:write"],
        state="s",
        code_verifier=None,
    )
    query = parse_qs(urlsplit(url).query)
    assert query["user_scope"] == ["search:read,chat:write"]
    assert "scope" not in query
    assert server.rules.token_path == "authed_user"


@pytest.mark.parametrize("provider_id", IDS)
def test_each_placeholder_has_a_parameter_and_each_parameter_is_used(provider_id: str) -> None:
    spec = catalogue()[provider_id]
    shape = definition_of(spec)
    used = {key for field in shape if field.endswith(("endpoint", "url")) for key in placeholders(shape[field])}
    assert used == {parameter.key for parameter in spec.parameters}
    # None decides the whole host, so every one may be asked per connection.
    assert connection_parameters(spec) == spec.parameters


@pytest.mark.parametrize("provider_id", IDS)
def test_its_own_scopes_satisfy_its_rules(provider_id: str) -> None:
    spec = catalogue()[provider_id]
    for grant_type in spec.grant_types:
        names = (*spec.default_scopes(grant_type), *(scope.name for scope in spec.suggested_scopes))
        check_scopes(names, spec.allowed_scope_patterns, spec.denied_scope_patterns)


@pytest.mark.parametrize(("key", "scopes"), EXPECTED_BASE_SCOPES.items())
def test_base_scopes_are_those_that_people_rely_on(key: tuple[str, str], scopes: tuple[str, ...]) -> None:
    assert catalogue()[key[0]].base_scopes(key[1]) == scopes


def test_microsoft_tenant_goes_into_the_path_and_defaults_to_common() -> None:
    spec = catalogue()["microsoft_graph"]
    provider = provider_for(spec, "client_credentials")
    assert provider.server(parameter_values(spec, {}, {})).token_endpoint == (
        "https://login.microsoftonline.com/common/oauth2/v2.0/token"
    )
    assert provider.server(parameter_values(spec, {"tenant": "contoso.onmicrosoft.com"}, {})).token_endpoint == (
        "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token"
    )


@pytest.mark.parametrize(
    ("domain", "host"),
    [
        ("login", "login.salesforce.com"),
        ("acme.my", "acme.my.salesforce.com"),
        ("acme--uat.sandbox.my", "acme--uat.sandbox.my.salesforce.com"),
    ],
)
def test_salesforce_takes_login_and_own_domains(domain: str, host: str) -> None:
    spec = catalogue()["salesforce"]
    server = provider_for(spec, "authorization_code").server(parameter_values(spec, {}, {"domain": domain}))
    assert urlsplit(server.token_endpoint).hostname == host


def test_jamf_is_a_service_account_that_posts_its_secret() -> None:
    spec = catalogue()["jamf"]
    assert spec.grant_types == (GrantType.CLIENT_CREDENTIALS,)
    assert spec.token_endpoint_auth_method is ClientAuth.CLIENT_SECRET_POST
    server = provider_for(spec, "client_credentials").server(parameter_values(spec, {}, {"instance": "acme"}))
    assert server.token_endpoint == "https://acme.jamfcloud.com/api/v1/oauth/token"


def test_accounts_are_read_from_nested_answers() -> None:
    drive = provider_for(catalogue()["google_drive"], "authorization_code")
    answer = {"user": {"emailAddress": "a@example.com", "permissionId": "17"}}
    assert drive.account_from(answer) == {"id": "17", "label": "a@example.com"}
    github = provider_for(catalogue()["github"], "authorization_code")
    assert github.account_from({"id": 583231, "login": "octocat"}) == {"id": "583231", "label": "octocat"}
    assert github.account_from({"login": ["not", "text"], "id": True}) == {}


@pytest.mark.parametrize("provider_id", IDS)
def test_a_definition_survives_the_way_to_the_api_and_back(provider_id: str) -> None:
    shape = definition_of(catalogue()[provider_id])
    again = {key: value for key, value in shape.items() if key not in ("version", "draft")}
    hosts = [urlsplit(SANDBOX).netloc]
    assert definition_of(read_catalogue_definition(again, allowed_hosts=hosts)) == shape
