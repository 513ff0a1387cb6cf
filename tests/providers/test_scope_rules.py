"""Additional scopes are judged on the server (RFC 6749 §3.3 and the provider's own rules)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from integrations.models import GrantType
from integrations.providers.base import ProviderSpec, ScopePattern
from integrations.providers.catalogue import catalogue
from integrations.providers.scope_rules import ScopesRefused, check_additional_scopes

PLAIN = ProviderSpec(
    provider_id="custom_acme",
    name="Acme",
    token_endpoint="https://acme.example.com/token",
    grant_types=(GrantType.AUTHORIZATION_CODE, GrantType.CLIENT_CREDENTIALS),
)


def refusal(spec: ProviderSpec, *scopes: str, grant_type: str = "authorization_code") -> ScopesRefused:
    with pytest.raises(ScopesRefused) as caught:
        check_additional_scopes(spec, grant_type, scopes)
    return caught.value


@pytest.mark.parametrize("scope", ["read", "read:all", "https://example.com/auth/x", "!#[]~", "a" * 500])
def test_without_rules_any_well_formed_scope_is_taken(scope: str) -> None:
    check_additional_scopes(PLAIN, "authorization_code", [scope])


@pytest.mark.parametrize(
    "scope",
    [
        "a b",  # two scopes in one
        'a"b',  # excluded by the grammar
        "a\\b",
        "é",
        "a\n",
        "",
        "\x00",
        "a\u202eb",
    ],
)
def test_what_is_no_scope_token_is_refused(scope: str) -> None:
    assert "is not a scope" in refusal(PLAIN, scope).message


def test_at_most_500_characters_in_all() -> None:
    check_additional_scopes(PLAIN, "authorization_code", ["a" * 249, "b" * 250])
    assert "500 characters in all" in refusal(PLAIN, "a" * 250, "b" * 250).message


def test_a_separator_inside_a_scope_cannot_bring_a_second_one_in() -> None:
    slack = catalogue()["slack"]
    assert "separates scopes" in refusal(slack, "channels:read,admin").message


def test_the_refusal_names_the_scope_and_what_is_expected() -> None:
    error = refusal(catalogue()["github"], "read:org", "Not A Scope!")
    assert error.scope == "Not A Scope!"
    error = refusal(catalogue()["google_drive"], "drive")
    assert "“drive”" in error.message
    assert "full URLs that begin with https://www.googleapis.com/auth/" in error.message
    assert len(error.expected) == 2


@pytest.mark.parametrize(
    "scope",
    [
        "xhttps://www.googleapis.com/auth/drive",  # the pattern holds over the whole length: at the start
        "https://www.googleapis.com/auth/drive/../x",  # and at the end
        "https://wwwXgoogleapis.com/auth/drive",  # dots are literal
        "https://www.googleapis.com/auth/admin.directory.user",  # allowed by form, denied by rule
        "https://www.googleapis.com/auth/cloud-platform",
    ],
)
def test_patterns_hold_over_the_whole_scope_and_denied_ones_win(scope: str) -> None:
    assert refusal(catalogue()["google_drive"], scope).scope == scope


def test_base_scopes_are_exempt_from_the_rules() -> None:
    drive = catalogue()["google_drive"]
    strict = replace(drive, denied_scope_patterns=(ScopePattern(".+", "nothing more"),))
    check_additional_scopes(strict, "authorization_code", strict.base_scopes("authorization_code"))
    assert "nothing more" in refusal(strict, "https://www.googleapis.com/auth/documents").message


def test_base_scopes_of_another_grant_type_are_not_exempt() -> None:
    graph = catalogue()["microsoft_graph"]
    strict = replace(graph, denied_scope_patterns=(ScopePattern(".*default", "not here"),))
    check_additional_scopes(strict, "client_credentials", ["https://graph.microsoft.com/.default"])
    assert "not here" in refusal(strict, "https://graph.microsoft.com/.default").message


@pytest.mark.parametrize("provider_id", ["notion", "jamf"])
def test_providers_without_scopes_take_none_and_say_why(provider_id: str) -> None:
    spec = catalogue()[provider_id]
    assert "no scopes" in refusal(spec, "read", grant_type=spec.grant_types[0]).message
