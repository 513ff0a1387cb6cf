"""Scopes that answers name otherwise than they were requested: nothing is shown as missing that was granted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from integrations.models import GrantType
from integrations.oauth.scopes import ScopeComparison
from integrations.providers.catalogue import catalogue
from integrations.providers.definition import InvalidDefinition, definition_of, read_definition
from tests.providers.quirks.conftest import NOW, Flow, answer

GRAPH = "https://graph.microsoft.com/"
EMAIL = "https://www.googleapis.com/auth/userinfo.email"
COMPARISONS: dict[str, dict[str, Any]] = {
    "none": {},
    "google": {"aliases": {"email": EMAIL}},
    "microsoft": {"prefix": GRAPH, "ignore_case": True, "not_echoed": ["offline_access"]},
    "github": {"implied": {"admin:org": ["write:org"], "write:org": ["read:org"]}},
}


@pytest.mark.parametrize(
    ("comparison", "requested", "answered", "granted", "missing"),
    [
        ("none", ["read", "write"], "read", ["read"], ["write"]),
        ("none", ["read"], "READ", ["READ"], ["read"]),
        ("google", ["openid", "email"], f"{EMAIL} openid", ["email", "openid"], []),
        ("google", ["openid", EMAIL], "openid email", ["openid", EMAIL], []),
        ("google", ["openid", "email"], "openid", ["openid"], ["email"]),
        (
            "microsoft",
            ["offline_access", f"{GRAPH}User.Read"],
            "user.read",
            [f"{GRAPH}User.Read", "offline_access"],
            [],
        ),
        ("microsoft", ["Mail.Read"], f"{GRAPH}Mail.Read openid", ["Mail.Read", "openid"], []),
        ("microsoft", [f"{GRAPH}Mail.Read"], "User.Read", ["User.Read"], [f"{GRAPH}Mail.Read"]),
        ("github", ["admin:org", "read:org"], "admin:org", ["admin:org", "read:org"], []),
        ("github", ["write:org", "admin:org"], "write:org", ["write:org"], ["admin:org"]),
        # A scope that nobody asked for brings no others into the list.
        ("github", ["repo"], "repo,admin:org", ["repo", "admin:org"], []),
    ],
)
def test_granted_scopes_are_stored_as_they_were_requested_at_connect_and_at_refresh(
    own: Callable[..., Flow],
    comparison: str,
    requested: list[str],
    answered: str,
    granted: list[str],
    missing: list[str],
) -> None:
    scopes = [{"name": name, "required": True} for name in requested]
    flow = own(scopes=scopes, scope_comparison=COMPARISONS[comparison])
    flow.server.answer("/token", json=answer(scope=answered))
    connection = flow.connect()
    assert (connection.granted_scopes, connection.missing_scopes) == (granted, missing)
    assert flow.refresh(connection, now=NOW + timedelta(hours=2)).refreshed
    renewed = flow.again(connection.pk)
    assert (renewed.granted_scopes, renewed.missing_scopes) == (granted, missing)


def test_a_service_accounts_scopes_are_compared_at_each_token(own: Callable[..., Flow]) -> None:
    flow = own(
        grant_type=GrantType.CLIENT_CREDENTIALS,
        scopes=[{"name": f"{GRAPH}Mail.Read", "required": True}],
        scope_comparison={"prefix": GRAPH},
    )
    flow.server.answer("/token", json=answer(refresh_token=None, scope="Mail.Read"))
    connection = flow.fetch()
    assert connection.missing_scopes == []
    assert flow.refresh(connection, now=NOW + timedelta(hours=2)).refreshed
    assert flow.again(connection.pk).granted_scopes == [f"{GRAPH}Mail.Read"]


def test_an_answer_that_names_no_scopes_means_as_requested(own: Callable[..., Flow]) -> None:
    flow = own(scope_comparison=COMPARISONS["microsoft"])
    flow.server.answer("/token", json=answer())
    assert flow.connect().granted_scopes == ["read", "write"]


def test_scopes_that_imply_each_other_come_to_an_end() -> None:
    comparison = ScopeComparison(implied={"a": ("b",), "b": ("a", "c")})
    assert comparison.granted(["a", "b", "c"], ["b"]) == ("b", "a", "c")


def definition(**comparison: Any) -> dict[str, Any]:
    return {
        "name": "Acme",
        "grant_types": ["client_credentials"],
        "token_endpoint": "https://acme.example.com/token",
        "scope_comparison": comparison,
    }


@pytest.mark.parametrize("name", COMPARISONS)
def test_the_api_shows_what_was_said_and_takes_it_back(name: str) -> None:
    spec = read_definition(definition(**COMPARISONS[name]), provider_id="custom_acme", allowed_hosts=[])
    assert definition_of(spec)["scope_comparison"] == COMPARISONS[name]


@pytest.mark.parametrize(
    ("comparison", "words"),
    [
        ({"alias": {}}, "“alias” is not known here"),
        ({"ignore_case": "yes"}, "true or false"),
        ({"implied": {"a": "b"}}, "Write a list"),
        ({"not_echoed": "offline_access"}, "Write a list"),
    ],
)
def test_what_cannot_be_read_is_refused(comparison: Any, words: str) -> None:
    with pytest.raises(InvalidDefinition) as refused:
        read_definition(definition(**comparison), provider_id="custom_acme", allowed_hosts=[])
    assert words in refused.value.errors["scope_comparison"][0]


@pytest.mark.parametrize(
    ("provider_id", "requested", "answered"),
    [
        (
            "google_drive",
            ("https://www.googleapis.com/auth/drive", "email"),
            f"https://www.googleapis.com/auth/drive {EMAIL}",
        ),
        ("microsoft_graph", ("offline_access", f"{GRAPH}User.Read"), "User.Read profile openid email"),
        ("outlook", ("offline_access", f"{GRAPH}Mail.Read"), f"{GRAPH}mail.read"),
        (
            "azure_management",
            ("offline_access", "https://management.azure.com/user_impersonation"),
            "user_impersonation",
        ),
        ("github", ("repo", "public_repo", "user", "user:email"), "repo,user"),
    ],
)
def test_files_of_the_catalogue_say_it(provider_id: str, requested: tuple[str, ...], answered: str) -> None:
    granted = catalogue()[provider_id].scope_comparison.granted(requested, answered.replace(",", " ").split())
    assert set(requested) <= set(granted)
