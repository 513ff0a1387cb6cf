"""Subclasses for providers that no field of a definition can describe."""

from __future__ import annotations

from dataclasses import replace

import pytest

from integrations.providers import oauth_provider
from integrations.providers.catalogue import catalogue
from integrations.providers.oauth_provider import (
    AuthorizationCodeOAuthProvider,
    ClientCredentialsOAuthProvider,
    provider_for,
    register,
)


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
