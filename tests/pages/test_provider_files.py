"""Export, import and copy of definitions in the pages."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from integrations.models import Connection, CustomProvider, Integration
from integrations.providers.registry import find_newest_spec
from tests.factories import make_connection
from tests.pages.conftest import PROVIDER_ID, url
from workspaces.models import User, Workspace
from workspaces.roles import Role

YAML = """\
grantry_provider: 1
name: Billing
grant_types: [authorization_code]
authorization_endpoint: https://id.example.com/authorize
token_endpoint: https://id.example.com/token
scopes:
- name: invoices.read
  required: true
"""


@pytest.fixture
def address(workspace: Workspace) -> str:
    return url("custom_import")


def test_it_is_looked_at_before_anything_is_saved(as_alice: Client, address: str) -> None:
    looked = as_alice.post(address, {"yaml": YAML, "go": "look"})
    text = looked.content.decode()
    assert "This adds Billing as custom_billing" in text
    assert "<i>scope</i>=invoices.read" in text
    assert "New connection to Billing" in text
    assert not CustomProvider.objects.exists()
    done = as_alice.post(address, {"yaml": YAML, "go": "publish"})
    assert done["Location"] == "/w/acme/integrations/custom_billing/authorization_code/"


def test_a_file_is_uploaded(as_alice: Client, address: str) -> None:
    file = SimpleUploadedFile("billing.yaml", ("\ufeff" + YAML).encode(), content_type="application/yaml")
    text = as_alice.post(address, {"yaml": "", "file": file, "go": "look"}).content.decode()
    assert "This adds Billing as custom_billing" in text
    assert "name: Billing" in text  # in the text, for the next step


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\xff\xfe\x00", "not UTF-8"), (b"grantry_provider: 1\n#" + b"x" * 210_000, "At most 200 KB")],
)
def test_a_file_that_cannot_be_read_is_told(as_alice: Client, address: str, content: bytes, words: str) -> None:
    answer = as_alice.post(address, {"file": SimpleUploadedFile("x.yaml", content), "go": "publish"})
    assert answer.status_code == 422
    assert words in answer.content.decode()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x", "Begin the file with grantry_provider: 1"),
        (YAML + "name: again\n", "<strong>Line 9</strong>"),
        (
            YAML.replace("https://id.example.com/token", "http://id.example.com/token"),
            "<strong>Line 5</strong>, Token endpoint:",
        ),
        (YAML.replace("- name", "- nam"), "<strong>Line 6</strong>, Scopes:"),
        (
            YAML.replace("token_endpoint: https://id.example.com/token\n", ""),
            "Token endpoint: Enter the token endpoint.",
        ),
    ],
)
def test_errors_name_line_and_field(as_alice: Client, address: str, text: str, words: str) -> None:
    answer = as_alice.post(address, {"yaml": text, "go": "publish"})
    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert not CustomProvider.objects.exists()


def test_export_and_import_make_a_new_version(as_alice: Client, address: str, delegated: Integration) -> None:
    exported = as_alice.get(url("custom_export", provider_id=PROVIDER_ID))
    assert exported["Content-Disposition"] == 'attachment; filename="custom_northwind.yaml"'
    assert exported["Content-Type"].startswith("application/yaml")
    text = exported.content.decode().replace("name: Northwind", "name: Northwind 2")
    looked = as_alice.post(address, {"yaml": text, "go": "look"}).content.decode()
    assert "This makes a new version of custom_northwind" in looked
    assert "Added: </span>Northwind 2</ins>" in looked
    as_alice.post(address, {"yaml": text, "go": "draft"})
    spec = find_newest_spec(delegated.workspace, PROVIDER_ID)
    assert (spec.name, spec.version, spec.draft) == ("Northwind 2", 2, True)


def test_an_import_that_moves_an_endpoint_is_confirmed(as_alice: Client, address: str, delegated: Integration) -> None:
    make_connection(delegated)
    text = as_alice.get(url("custom_export", provider_id=PROVIDER_ID)).content.decode()
    lines = [
        "token_endpoint: https://elsewhere.example/token" if line.startswith("token_endpoint:") else line
        for line in text.splitlines()
    ]
    moved = "\n".join(lines)
    asked = as_alice.post(address, {"yaml": moved, "go": "publish"})
    assert "1 client secret is cleared, and 1 connection must be connected again" in asked.content.decode()
    assert Connection.objects.get().state == "connected"
    as_alice.post(address, {"yaml": moved, "go": "publish", "confirm_move": "yes"})
    assert Connection.objects.get().last_error_code == "endpoint_changed"


def test_the_same_id_may_be_added_once_more(as_alice: Client, address: str, northwind: str) -> None:
    text = as_alice.get(url("custom_export", provider_id=PROVIDER_ID)).content.decode()
    as_alice.post(address, {"yaml": text, "as_new": "yes", "go": "publish"})
    assert sorted(CustomProvider.objects.values_list("provider_id", flat=True)) == [
        "custom_northwind",
        "custom_northwind_1",
    ]


@pytest.mark.parametrize(
    ("query", "words"), [("?copy=github", "name: GitHub"), ("?of=custom_northwind", "provider_id: custom_northwind")]
)
def test_the_text_is_filled_in(as_alice: Client, address: str, northwind: str, query: str, words: str) -> None:
    assert words in as_alice.get(address + query).content.decode()


def test_a_copy_of_a_built_in_provider_is_ones_own(as_alice: Client, address: str) -> None:
    page = as_alice.get(f"{address}?copy=github").content.decode()
    assert "Copy as custom provider" in page
    assert "provider_id" not in page
    assert as_alice.get(f"{address}?copy=nothing").status_code == 404


def test_an_import_without_the_token_of_our_own_page_is_refused(alice: User, address: str) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(alice)
    assert browser.post(address, {"yaml": YAML, "go": "publish"}).status_code == 403
    assert not CustomProvider.objects.exists()


@pytest.mark.parametrize("role", [Role.VIEWER, Role.EDITOR])
def test_members_export_and_only_admins_import(
    sign_in: Callable[[Role], Client], address: str, northwind: str, role: Role
) -> None:
    browser = sign_in(role)
    assert browser.get(url("custom_export", provider_id=PROVIDER_ID)).status_code == 200
    assert (browser.get(address).status_code, browser.post(address).status_code) == (403, 403)


def test_an_outsider_finds_nothing(charlie: User, client: Client, address: str, northwind: str) -> None:
    client.force_login(charlie)
    assert client.get(address).status_code == 404
    assert client.get(url("custom_export", provider_id=PROVIDER_ID)).status_code == 404
