"""Subclasses for providers that no field of a definition can describe."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from integrations.models import GrantType
from integrations.oauth.client import AuthorizationServer, OAuthClient
from integrations.oauth.scopes import ScopeComparison
from integrations.oauth.token_response import TokenResponseRules
from integrations.outbound import client as outbound
from integrations.providers import deviations, oauth_provider
from integrations.providers.base import ProviderSpec
from integrations.providers.catalogue import catalogue
from integrations.providers.oauth_provider import (
    AuthorizationCodeOAuthProvider,
    ClientCredentialsOAuthProvider,
    provider_for,
    register,
)
from tests.servers.scripted import ScriptedServer


@pytest.fixture(autouse=True)
def _registered_for_one_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oauth_provider, "_deviating", {})


def test_a_registered_class_is_used_for_its_provider_and_grant_type() -> None:
    @register("microsoft_graph")
    class Graph(ClientCredentialsOAuthProvider):
        pass

    spec = catalogue()["microsoft_graph"]
    assert type(provider_for(spec, "client_credentials")) is Graph
    assert type(provider_for(spec, "authorization_code")) is AuthorizationCodeOAuthProvider
    assert type(provider_for(catalogue()["jamf"], "client_credentials")) is ClientCredentialsOAuthProvider


def test_a_provider_is_registered_once() -> None:
    @register("github")
    class First(AuthorizationCodeOAuthProvider):
        pass

    with pytest.raises(ValueError, match="registered already, by First"):

        @register("github")
        class Second(AuthorizationCodeOAuthProvider):
            pass


def test_a_workspaces_own_provider_never_runs_it() -> None:
    @register("github")
    class GitHub(AuthorizationCodeOAuthProvider):
        pass

    own = replace(catalogue()["github"], custom=True)
    assert type(provider_for(own, "authorization_code")) is AuthorizationCodeOAuthProvider


def test_a_grant_type_that_the_provider_does_not_offer_is_refused() -> None:
    with pytest.raises(ValueError, match="GitHub does not support"):
        provider_for(catalogue()["github"], "client_credentials")


def test_expressions_name_the_provider_and_the_kind_of_token() -> None:
    spec = catalogue()["microsoft_graph"]
    assert spec.expression("authorization_code") == "${{ SECRETS.microsoft_graph_oauth.MICROSOFT_GRAPH_USER_TOKEN }}"
    assert spec.expression("client_credentials") == "${{ SECRETS.microsoft_graph_oauth.MICROSOFT_GRAPH_SERVICE_TOKEN }}"


# --- what the guide says --------------------------------------------------------------------------------
GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "providers.md").read_text()


def test_the_guides_example_works_as_it_stands(provider_server: ScriptedServer) -> None:
    [example] = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    exec(compile(example, "docs/providers.md", "exec"), {"__name__": "deviations.acme"})  # noqa: S102 # our own text
    spec = ProviderSpec(
        provider_id="acme",
        name="Acme",
        token_endpoint=f"{provider_server.url}/token",
        revocation_endpoint=f"{provider_server.url}/tokens/this",
        grant_types=(GrantType.AUTHORIZATION_CODE,),
    )
    provider = provider_for(spec, "authorization_code")
    assert type(provider).__name__ == "AcmeProvider"
    provider_server.answer("/tokens/this", status=204)
    http, server, client = outbound.session(outbound.TOKEN), provider.server({}), OAuthClient("app", "secret")
    assert provider.revoke(http, server, client, token="r-1", token_type_hint="refresh_token").result == "unsupported"
    assert provider.revoke(http, server, client, token="a-1", token_type_hint="access_token").result == "revoked"
    [request] = provider_server.to("/tokens/this")
    assert (request.method, request.headers["authorization"]) == ("DELETE", "Bearer a-1")


def test_the_guides_table_names_every_field_for_deviations() -> None:
    table = GUIDE.partition("## Fields for what a provider does otherwise")[2].partition("\n## ")[0]
    wire = {field.name for field in fields(AuthorizationServer)} & {field.name for field in fields(ProviderSpec)}
    standard = {name for name in wire if name.endswith("_endpoint") and name != "refresh_endpoint"}
    expected = wire - standard - {"issuer", "scope_separator"}
    expected |= {field.name for field in (*fields(TokenResponseRules), *fields(ScopeComparison))}
    expected |= {"metadata", "config_values", "refuses_early_refresh", "refresh_margin_seconds", "credential"}
    missing = [name for name in sorted(expected) if f"`{name}" not in table]
    assert missing == []


def test_the_guide_and_the_package_name_the_same_subclasses() -> None:
    modules = {path.stem for path in Path(deviations.__file__).parent.glob("[!_]*.py")}
    assert modules == set(deviations.__all__)
    documented = GUIDE.partition("## A subclass for what no field can say")[2].casefold()
    assert [name for name in modules if name not in documented] == []
    for name in modules:
        assert "No field of a definition can say" in str(getattr(deviations, name).__doc__)
