"""What a redirect host answers: its callback, its workspace's connect pages, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings as configured
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from integrations.models import Integration
from tests.factories import make_integration
from tests.redirect_hosts.conftest import HOST, OPERATOR, PUBLIC, Visitor, link_path
from tests.tenancy.routes import all_routes
from workspaces.models import User, Workspace
from workspaces.workspaces import change_redirect_host

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_real_hosts")]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "code=abc&state=xyz",
        "state=a&state=b&code=1&code=1",  # repeated keys, which the callback refuses by itself
        "code=4%2F0Ab%2Bc%3D%3D&state=x%20y+z",  # %20 and + stay apart
        "code=%e2%82%ac&scope=a%2Fb",  # lower-case hexadecimal stays so
        "error=access_denied&error_description=It%20said%3A%20%22no%22",
        "empty=&=value&lonely&&;;",
        "iss=https://id.example/&code='(){}|^`[]<>\"",
        "broken=%zz%&more=%0d%0aSet-Cookie:a=b",
        "next=https://evil.example/&next=//evil.example",
        "x=" + "y" * 6000,
    ],
)
@pytest.mark.parametrize("method", ["get", "head"])
def test_the_callback_is_forwarded_with_its_query_byte_for_byte(
    own_host: Workspace, visitor: Visitor, query: str, method: str
) -> None:
    answer = visitor.own.generic(method.upper(), "/oauth/callback", QUERY_STRING=query)
    assert answer.status_code == 308
    assert answer.headers["Location"] == f"{PUBLIC}/oauth/callback" + (f"?{query}" if query else "")
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    assert not answer.cookies


def test_bytes_that_are_no_text_are_forwarded_too(own_host: Workspace, visitor: Visitor) -> None:
    raw = "code=" + b"\xff\xfe\xc3\xa9".decode("latin-1")
    answer = visitor.own.get("/oauth/callback", QUERY_STRING=raw)
    assert answer.headers["Location"].encode("latin-1").endswith(b"?code=\xff\xfe\xc3\xa9")


@pytest.mark.parametrize("method", ["post", "put", "delete", "options"])
def test_nothing_but_a_visit_is_forwarded(own_host: Workspace, visitor: Visitor, method: str) -> None:
    answer = getattr(visitor.own, method)("/oauth/callback?code=abc&state=xyz")
    assert answer.status_code == 405
    assert "Location" not in answer.headers


ELSEWHERE = [
    "/",
    "/accounts/",
    "/accounts/login/",
    "/accounts/password/reset/",
    "/admin/",
    "/admin/login/",
    "/api/v1/integrations",
    "/api/v1/openapi.json",
    "/api/v1/docs",
    "/w/acme/",
    "/w/acme/settings/",
    "/w/acme/integrations/",
    "/invitations/some-token/",
    "/oauth/callback/",
    "/oauth/callback/result/00000000-0000-0000-0000-000000000000/",
    "/connect/",
    "/static/no-such-file.css",
    "/favicon.ico",
]


@pytest.mark.parametrize("path", ELSEWHERE)
@pytest.mark.parametrize("method", ["get", "post"])
def test_everything_else_is_not_there(
    own_host: Workspace, visitor: Visitor, alice: User, path: str, method: str
) -> None:
    visitor.own.force_login(alice)  # not even for somebody who is signed in at the public host
    answer = getattr(visitor.own, method)(path)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.content == b"There is nothing here.\n"


def test_no_route_of_the_product_is_there_by_accident(own_host: Workspace, visitor: Visitor) -> None:
    """Every route but the callback and connect links, with made-up values for its placeholders."""
    served = ("integrations:oauth_callback", "integrations:connect_link")
    probes = ("healthz", "readyz", "metrics")  # come by any name
    for route in all_routes():
        if route.name in (*served, *probes):
            continue
        path = "/" + route.template
        for placeholder, value in (("grant_type", "authorization_code"), ("slug", "acme"), ("uuid", "0" * 32)):
            path = path.replace(f"<{placeholder}:", f"<{value}:")
        path = "/".join(part.split(":")[0].lstrip("<") if part.startswith("<") else part for part in path.split("/"))
        assert visitor.own.get(path).status_code == 404, path


def test_its_own_routes_are_these() -> None:
    assert {str(route) for route in all_routes(configured.REDIRECT_HOST_URLCONF)} == {
        "/oauth/callback",
        "/connect/<str:token>/",
        "/connect/again/<uuid:link_id>/",
    }


def test_its_static_files_are_served(own_host: Workspace, visitor: Visitor) -> None:
    assert visitor.own.get("/static/css/grantry.css").status_code == 200


@pytest.mark.parametrize("host", [HOST, HOST.upper(), f"{HOST}:443"])
def test_the_page_says_who_asks_under_the_workspaces_name(
    own_host: Workspace, delegated: Integration, host: str
) -> None:
    page = Client(headers={"Host": host}).get(link_path(delegated))
    text = page.content.decode()
    assert page.status_code == 200
    assert "Acme asks to connect your Northwind account" in text
    assert "Grantry" not in text
    assert "form-action 'self'" in page.headers["Content-Security-Policy"]


def test_the_public_host_serves_the_same_link_as_before(
    own_host: Workspace, delegated: Integration, visitor: Visitor
) -> None:
    page = visitor.public.get(link_path(delegated))
    assert page.status_code == 200
    assert "Grantry" in page.content.decode()


def test_a_link_of_another_workspace_is_not_there(own_host: Workspace, charlie: User, visitor: Visitor) -> None:
    theirs = make_integration(Workspace.objects.get(slug="other"), "github")
    path = link_path(theirs)
    for answer in (visitor.own.get(path), visitor.own.post(path)):
        assert answer.status_code == 404
        assert "Other" not in answer.content.decode()
        assert "GitHub" not in answer.content.decode()
    assert visitor.public.get(path).status_code == 200
    assert not theirs.workspace.pending_authorizations.exists()


SPOOFED = [
    "connect.acme.example.evil.com",
    "evil.connect.acme.example",
    "acme.example",
    "connect.acme.example.",
    "connect.acme.example:8443",
    "connect.acme.example:443:80",
    "connect.acme.example@evil.com",
    "evil.com/connect.acme.example",
    "connect.acme.example, evil.com",
    "connect.acme.example#",
    "connect.acme.example\x00",
    "connect%2eacme.example",
    "%",
    "*",
    "",
]


@pytest.mark.parametrize("host", SPOOFED)
@pytest.mark.parametrize("path", ["/oauth/callback", "/connect/unknown/", "/accounts/login/"])
def test_any_other_name_is_refused_as_ever(own_host: Workspace, host: str, path: str) -> None:
    answer = Client(headers={"Host": host}).get(path)
    assert answer.status_code == 400
    assert "Location" not in answer.headers


def test_a_forwarded_host_header_counts_for_nothing(own_host: Workspace) -> None:
    stranger = Client(headers={"Host": "evil.example", "X-Forwarded-Host": HOST, "Forwarded": f"host={HOST}"})
    assert stranger.get("/oauth/callback").status_code == 400


def test_other_names_of_the_installation_still_lead_to_the_public_one(own_host: Workspace) -> None:
    answer = Client(headers={"Host": "other.example.com"}).get("/accounts/login/?a=%20")
    assert answer.headers["Location"] == f"{PUBLIC}/accounts/login/?a=%20"
    assert Client(headers={"Host": "127.0.0.1"}).get("/oauth/callback?a=b").status_code == 302  # nobody's host


def test_setting_and_clearing_count_with_the_next_request(workspace: Workspace, visitor: Visitor) -> None:
    assert visitor.own.get("/oauth/callback").status_code == 400
    change_redirect_host(workspace, f"https://{HOST}", actor=OPERATOR)
    assert visitor.own.get("/oauth/callback").status_code == 308
    change_redirect_host(workspace, "", actor=OPERATOR)
    assert visitor.own.get("/oauth/callback").status_code == 400


def test_a_name_that_is_local_in_development_belongs_to_its_workspace(workspace: Workspace) -> None:
    change_redirect_host(workspace, "http://127.0.0.1:8000", actor=OPERATOR)
    assert Client(headers={"Host": "127.0.0.1:8000"}).get("/oauth/callback").status_code == 308
    assert Client(headers={"Host": "127.0.0.1:9000"}).get("/oauth/callback").status_code == 302


def test_the_table_is_asked_only_for_names_that_are_not_the_public_one(own_host: Workspace, visitor: Visitor) -> None:
    def asked(client: Client, path: str) -> list[str]:
        """The look-ups of tables; what a driver says to a connection that it opens does not count."""
        with CaptureQueriesContext(connection) as caught:
            client.get(path)
        return [query["sql"] for query in caught if " FROM " in query["sql"].upper()]

    assert asked(visitor.public, "/static/css/grantry.css") == []
    assert asked(visitor.public, "/oauth/callback") == []  # refused before anything is looked up
    (only,) = asked(visitor.own, "/oauth/callback?code=a&state=b")
    assert Workspace._meta.db_table in only


def test_https_is_remembered_for_this_name_alone(own_host: Workspace, settings: Any) -> None:
    """It may be a company's main domain, whose other names are not ours to speak for."""
    settings.SECURE_HSTS_SECONDS, settings.SECURE_HSTS_INCLUDE_SUBDOMAINS = 1000, True
    settings.SECURE_HSTS_PRELOAD = True
    for path in ("/oauth/callback", "/static/css/grantry.css", "/nowhere/"):
        answer = Client(headers={"Host": HOST}).get(path, secure=True)
        assert answer.headers["Strict-Transport-Security"] == "max-age=1000"
    ours = Client(headers={"Host": "localhost:8000"}).get("/accounts/login/", secure=True)
    assert "includeSubDomains" in ours.headers["Strict-Transport-Security"]


def test_a_form_from_elsewhere_is_refused_in_plain_words(own_host: Workspace, delegated: Integration) -> None:
    path = link_path(delegated)
    strict = Client(headers={"Host": HOST}, enforce_csrf_checks=True)
    token = strict.get(path).cookies[configured.CSRF_COOKIE_NAME].value
    assert strict.post(path).status_code == 403
    for origin, status in ((f"http://{HOST}", 200), (PUBLIC, 200), ("http://evil.example", 403), ("null", 403)):
        answer = strict.post(path, {"csrfmiddlewaretoken": token}, headers={"Origin": origin})
        assert answer.status_code == status, origin
