"""Every file of the catalogue can be used as it stands."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from django.core.checks import run_checks

from integrations.models import GrantType
from integrations.oauth.grants import authorization_url
from integrations.oauth.scopes import check_scopes
from integrations.providers.base import ClientAuth, CredentialKind, ProviderSpec
from integrations.providers.catalogue import CATALOGUE_FOLDER, catalogue
from integrations.providers.definition import definition_of, read_catalogue_definition
from integrations.providers.metadata import of_answer, of_callback
from integrations.providers.oauth_provider import OAuthProvider, provider_for
from integrations.providers.parameters import parameter_values, placeholder_parameters
from integrations.providers.rendering import placeholders
from tests.providers.catalogue_examples import (
    IDS,
    SANDBOX,
    example_answer,
    example_callback,
    example_metadata,
    example_parameters,
)

# Users of other products know these ids; see also the base scopes below.
KNOWN_IDS = (
    *("github", "slack", "google_drive", "google_gmail", "google", "google_docs", "google_sheets", "servicenow"),
    *("jamf", "azure_management", "microsoft_sentinel", "azure_log_analytics", "microsoft_defender_endpoint"),
    *("microsoft_defender_xdr", "microsoft_entra", "microsoft_graph", "microsoft_teams", "github_mcp", "jira_mcp"),
    *("linear_mcp", "notion_mcp", "runreveal_mcp", "secureannex_mcp", "sentry_mcp", "wiz_mcp", "twitch", "shopify"),
    *("box", "sandbox"),
)
CATEGORIES = frozenset(
    (
        "Advertising and marketing",
        "Analytics",
        "Cloud and infrastructure",
        "Commerce",
        "Communication",
        "CRM",
        "Customer support",
        "Data",
        "Design",
        "Development",
        "Device management",
        "Education",
        "Files and documents",
        "Finance",
        "Forms and scheduling",
        "Gaming",
        "Health and fitness",
        "HR",
        "Identity",
        "MCP servers",
        "Media and streaming",
        "Monitoring and security",
        "Productivity",
        "Project management",
        "Social",
        "Testing",
    )
)
GOOGLE = "https://www.googleapis.com/auth/"
PATTERNED = ("github", "slack", "jira", "confluence", "atlassian")
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
    ("google", "client_credentials"): (f"{GOOGLE}cloud-platform",),
    ("google_docs", "client_credentials"): (f"{GOOGLE}documents",),
    ("google_sheets", "client_credentials"): (f"{GOOGLE}spreadsheets",),
    ("azure_management", "client_credentials"): ("https://management.azure.com/.default",),
    ("microsoft_sentinel", "client_credentials"): ("https://management.azure.com/.default",),
    ("azure_log_analytics", "client_credentials"): ("https://api.loganalytics.io/.default",),
    ("microsoft_defender_endpoint", "client_credentials"): ("https://api.securitycenter.microsoft.com/.default",),
    ("microsoft_defender_xdr", "client_credentials"): ("https://api.security.microsoft.com/.default",),
    ("microsoft_entra", "client_credentials"): ("https://graph.microsoft.com/.default",),
    ("microsoft_teams", "client_credentials"): ("https://graph.microsoft.com/.default",),
    ("sandbox", "authorization_code"): ("profile",),
    ("sandbox", "client_credentials"): ("profile",),
}


@pytest.fixture(autouse=True)
def _sandbox(settings: Any) -> None:
    settings.SANDBOX_BASE_URL = SANDBOX


def spec_of(provider_id: str) -> ProviderSpec:
    return catalogue()[provider_id]


def rendered(spec: ProviderSpec, grant_type: str) -> tuple[OAuthProvider, Any]:
    """The provider and its server as they are once the provider has told what the file keeps."""
    provider = provider_for(spec, grant_type)
    return provider, provider.server(parameter_values(spec, example_parameters(spec), {}, example_metadata(spec)))


def test_the_catalogue_has_at_least_180_providers_and_those_that_people_know() -> None:
    assert len(IDS) >= 180
    assert set(catalogue()) == set(IDS)
    assert set(IDS) >= set(KNOWN_IDS)


def test_the_sandbox_is_there_only_while_it_is_configured(settings: Any) -> None:
    assert catalogue()["sandbox"].token_endpoint == f"{SANDBOX}/o/token/"
    assert catalogue()["sandbox"].issuer == SANDBOX
    settings.SANDBOX_BASE_URL = ""
    assert "sandbox" not in catalogue()


def test_the_system_check_finds_nothing_wrong() -> None:
    assert run_checks(tags=["catalogue"]) == []


@pytest.mark.parametrize("provider_id", IDS)
def test_each_file_states_what_decides_a_request(provider_id: str) -> None:
    """A default that nobody chose is a guess; these are written down, file by file."""
    stated = yaml.safe_load((CATALOGUE_FOLDER / f"{provider_id}.yaml").read_text())
    for key in ("category", "description", "token_endpoint_auth_method", "pkce", "scope_separator"):
        assert key in stated, key
    assert stated["category"] in CATEGORIES
    assert stated.get("monogram") or stated.get("brand_icon")
    assert bool(stated.get("resource")) or stated["token_endpoint"]
    assert not stated.get("unverified_note") or stated.get("unverified")


@pytest.mark.parametrize("provider_id", IDS)
def test_endpoints_render_without_leftovers(provider_id: str) -> None:
    spec = spec_of(provider_id)
    for grant_type in spec.grant_types:
        provider, server = rendered(spec, grant_type)
        values = parameter_values(spec, example_parameters(spec), {}, example_metadata(spec))
        urls = (
            server.token_endpoint,
            server.authorization_endpoint,
            server.refresh_endpoint,
            server.revocation_endpoint,
            server.introspection_endpoint,
            server.userinfo_endpoint,
            provider.api_base_url(values),
        )
        for url in urls:
            assert not placeholders(url)
            assert url == "" or urlsplit(url).scheme == ("http" if provider_id == "sandbox" else "https")
        if not spec.resource:
            assert server.token_endpoint
            assert bool(server.authorization_endpoint) == (grant_type == GrantType.AUTHORIZATION_CODE)


WITH_PEOPLE = sorted(
    path.stem
    for path in CATALOGUE_FOLDER.glob("*.yaml")
    if "authorization_code" in (stated := yaml.safe_load(path.read_text()))["grant_types"]
    and not stated.get("resource")
)


@pytest.mark.parametrize("provider_id", WITH_PEOPLE)
def test_the_authorization_url_carries_scopes_and_extra_parameters(provider_id: str) -> None:
    spec = spec_of(provider_id)
    provider, server = rendered(spec, "authorization_code")
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
    assert query[spec.client_id_parameter] == ["client-1"]
    assert query["state"] == ["s"]
    assert query["redirect_uri"] == ["https://grantry.test/oauth/callback"]
    assert ("response_type" in query) == (spec.response_type == "code")
    assert ("code_challenge" in query) == (spec.pkce == "S256")
    for name, value in server.authorization_params.items():
        assert query[name] == [value]
    if scopes:
        assert query[spec.scope_parameter] == [spec.scope_separator.join(scopes)]


@pytest.mark.parametrize("provider_id", IDS)
def test_what_a_file_keeps_of_answers_is_kept(provider_id: str) -> None:
    spec = spec_of(provider_id)
    kept = {**of_callback(spec, example_callback(spec)), **of_answer(spec, example_answer(spec))}
    assert kept == example_metadata(spec)


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
def test_each_placeholder_is_known_and_each_parameter_is_used(provider_id: str) -> None:
    spec = spec_of(provider_id)
    shape = definition_of(spec)
    texts = [shape[field] for field in shape if field.endswith(("endpoint", "url"))]
    for mapping in ("authorization_params", "token_params", "refresh_params", "token_headers", "userinfo_headers"):
        texts.extend(shape[mapping].values())
    used = {key for text in texts for key in placeholders(text)} - {"client_id"}
    own = {item.key for item in spec.config_values}
    assert used <= {parameter.key for parameter in placeholder_parameters(spec)} | own
    asked = {parameter.key for parameter in spec.parameters if not parameter.optional}
    assert asked - {"client_id", "client_secret"} <= used


@pytest.mark.parametrize("provider_id", IDS)
def test_its_own_scopes_satisfy_its_rules(provider_id: str) -> None:
    spec = catalogue()[provider_id]
    for grant_type in spec.grant_types:
        names = (*spec.default_scopes(grant_type), *(scope.name for scope in spec.suggested_scopes))
        check_scopes(names, spec.allowed_scope_patterns, spec.denied_scope_patterns)
    assert all(scope.description for scope in spec.suggested_scopes)


@pytest.mark.parametrize("provider_id", [one for one in IDS if one.startswith(("google", "microsoft", "azure"))])
def test_google_and_microsoft_say_which_scopes_they_take(provider_id: str) -> None:
    assert spec_of(provider_id).allowed_scope_patterns


@pytest.mark.parametrize("provider_id", PATTERNED)
def test_github_slack_and_atlassian_say_which_scopes_they_take(provider_id: str) -> None:
    patterns = spec_of(provider_id).allowed_scope_patterns
    assert patterns
    assert all(pattern.description for pattern in patterns)


@pytest.mark.parametrize("provider_id", ["google", "google_docs", "google_sheets"])
def test_google_service_accounts_bring_a_key_file(provider_id: str) -> None:
    spec = spec_of(provider_id)
    assert spec.credential is CredentialKind.SERVICE_ACCOUNT_KEY
    assert spec.uses_service_account_key("client_credentials")
    assert not spec.uses_service_account_key("authorization_code")


@pytest.mark.parametrize("provider_id", [one for one in IDS if one.endswith("_mcp")])
def test_mcp_providers_are_discovered_or_name_their_endpoints(provider_id: str) -> None:
    spec = spec_of(provider_id)
    assert spec.category == "MCP servers"
    assert bool(spec.resource) != bool(spec.token_endpoint)


@pytest.mark.parametrize(("key", "scopes"), EXPECTED_BASE_SCOPES.items())
def test_base_scopes_are_those_that_people_rely_on(key: tuple[str, str], scopes: tuple[str, ...]) -> None:
    assert catalogue()[key[0]].base_scopes(key[1]) == scopes


def test_microsoft_tenant_goes_into_the_path_and_defaults_to_common() -> None:
    spec = catalogue()["microsoft_graph"]
    provider = provider_for(spec, "authorization_code")
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
    spec = spec_of(provider_id)
    shape = definition_of(spec)
    again = {key: value for key, value in shape.items() if key not in ("version", "draft")}
    again["resource"] = spec.resource  # which only a file may say
    hosts = [urlsplit(SANDBOX).netloc]
    assert definition_of(read_catalogue_definition(again, allowed_hosts=hosts)) == shape
