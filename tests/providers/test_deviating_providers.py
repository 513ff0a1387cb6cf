"""Subclasses for providers that no field of a definition can describe."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks

from integrations.models import GrantType
from integrations.oauth.client import AuthorizationServer, OAuthClient
from integrations.oauth.scopes import ScopeComparison
from integrations.oauth.token_response import TokenResponseRules
from integrations.outbound import client as outbound
from integrations.providers import deviations, oauth_provider
from integrations.providers.base import CATEGORIES, ProviderSpec
from integrations.providers.catalogue import catalogue, load_catalogue
from integrations.providers.oauth_provider import (
    AuthorizationCodeOAuthProvider,
    ClientCredentialsOAuthProvider,
    provider_for,
    register,
    registered_classes,
)
from tests.servers.scripted import ScriptedServer

REGISTERED = dict(registered_classes())  # before the fixture below empties it


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
ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "providers.md").read_text()
ACME = """\
provider_id: acme
name: Acme
category: Data
grant_types: [authorization_code, client_credentials]
authorization_endpoint: https://acme.example.com/authorize
token_endpoint: https://acme.example.com/token
"""


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


def test_the_guides_example_is_in_our_style() -> None:
    [example] = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    module = "integrations/providers/deviations/acme.py"
    for command in (["check", "--quiet"], ["format", "--check", "--quiet"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", module, "-"]
        judged = subprocess.run(ruff, input=example, capture_output=True, text=True, cwd=ROOT, check=False)
        assert judged.returncode == 0, judged.stdout + judged.stderr
    namespace: dict[str, Any] = {"__name__": "deviations.acme"}
    exec(compile(example, module, "exec"), namespace)  # noqa: S102 # our own text
    signature = inspect.signature(namespace["AcmeProvider"].revoke)
    assert signature == inspect.signature(AuthorizationCodeOAuthProvider.revoke)


def test_the_guides_shapes_are_those_of_a_file(tmp_path: Path) -> None:
    [shapes] = re.findall(r"### Shapes\n\n```yaml\n(.*?)```", GUIDE, re.DOTALL)
    (tmp_path / "acme.yaml").write_text(
        f"{ACME}api_base_url: https://{{{{shop}}}}.example.com/{{{{region}}}}/{{{{company}}}}\n{shapes}"
    )
    spec = load_catalogue(tmp_path)["acme"]
    assert [scope.name for scope in spec.scopes_for("authorization_code")] == ["read", "profile"]
    assert (spec.parameters[0].options, spec.metadata[0].key) == (("eu", "us"), "company")
    # The other form of `scopes`, which stands there as a comment.
    lists = shapes.partition("# scopes:")[2].partition("suggested_scopes:")[0].replace("\n#", "\n")
    (tmp_path / "acme.yaml").write_text(f"{ACME}scopes:{lists}")
    assert load_catalogue(tmp_path)["acme"].base_scopes("authorization_code") == ("read",)


def test_the_guide_names_every_category() -> None:
    named = " ".join(GUIDE.partition("`category` is one of ")[2].partition("\n\n")[0].split())
    assert named == f"{', '.join(CATEGORIES[:-1])} and {CATEGORIES[-1]}."


def test_the_guide_sends_people_to_files_that_are_there() -> None:
    table = GUIDE.partition("### Which file shows what")[2].partition("\n## ")[0]
    rows = [line.split("|")[2] for line in table.splitlines() if line.startswith("| ") and "---" not in line][1:]
    files = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}
    assert len(files) >= 8
    assert files <= set(catalogue())


def test_the_guides_table_names_every_field_for_deviations() -> None:
    table = GUIDE.partition("## Fields for what a provider does otherwise")[2].partition("\n## ")[0]
    wire = {field.name for field in fields(AuthorizationServer)} & {field.name for field in fields(ProviderSpec)}
    standard = {name for name in wire if name.endswith("_endpoint") and name != "refresh_endpoint"}
    expected = wire - standard - {"issuer", "scope_separator"}
    expected |= {field.name for field in (*fields(TokenResponseRules), *fields(ScopeComparison))}
    expected |= {"metadata", "config_values", "refuses_early_refresh", "refresh_margin_seconds", "credential"}
    expected |= {"refresh_token_idle_seconds", "refresh_token_lifetime_seconds"}
    missing = [name for name in sorted(expected) if f"`{name}" not in table]
    assert missing == []


def test_every_subclass_is_explained_where_people_look() -> None:
    documented = GUIDE.partition("## A subclass for what no field can say")[2].casefold()
    modules = sorted(path.stem for path in Path(deviations.__file__).parent.glob("[!_]*.py"))
    assert "slack" in modules
    for name in modules:
        file = f"integrations/providers/deviations/{name}.py"
        module = import_module(f"{deviations.__name__}.{name}")
        assert name in documented, (
            f"Name the provider of {file} in docs/providers.md, in the first sentence under "
            f"“A subclass for what no field can say”: the text there has to contain “{name}”."
        )
        assert "No field of a definition can say" in str(module.__doc__), (
            f"Say in the module docstring of {file} why no field suffices, in a sentence that begins with "
            "“No field of a definition can say”."
        )
        assert f"    {name} " in str(deviations.__doc__), (
            f"Add a line for {name} to the list in the docstring of integrations/providers/deviations/__init__.py: "
            f"“    {name}  what it does”."
        )


def test_every_module_of_the_package_is_imported_when_the_app_is_ready() -> None:
    script = "import django; django.setup(); import sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    modules = {f"{deviations.__name__}.{path.stem}" for path in Path(deviations.__file__).parent.glob("[!_]*.py")}
    assert modules
    assert modules <= set(loaded)


@pytest.mark.parametrize(
    ("provider_id", "remedy"),
    [
        ("githubb", 'there is no catalogue/githubb.yaml. Write "github" if you meant that.'),
        ("nothing_of_that_name", "add catalogue/nothing_of_that_name.yaml, or correct the id."),
        ("jamf", "add authorization_code to grant_types in catalogue/jamf.yaml, or choose another base."),
    ],
)
def test_the_system_check_finds_a_subclass_that_would_never_run(provider_id: str, remedy: str) -> None:
    assert run_checks(tags=["catalogue"]) == []

    @register(provider_id)
    class Acme(AuthorizationCodeOAuthProvider):
        pass

    [found] = run_checks(tags=["catalogue"])
    assert (found.id, found.obj) == ("integrations.E002", __name__)
    assert found.msg == f'@register("{provider_id}") on Acme (authorization_code): {remedy}'


def test_the_classes_of_the_package_are_registered_for_providers_of_the_catalogue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(oauth_provider, "_deviating", REGISTERED)
    assert len(REGISTERED) >= 5
    assert run_checks(tags=["catalogue"]) == []
