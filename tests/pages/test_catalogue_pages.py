"""Every provider of the catalogue has its pages, and the list of all of them costs a fixed number of queries."""

from __future__ import annotations

from html import unescape

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext

from integrations.models import GrantType
from integrations.providers.catalogue import catalogue
from tests.factories import make_connection, make_integration
from tests.pages.conftest import url
from workspaces.models import Workspace

CATEGORIES = sorted({spec.category for spec in catalogue().values()})
# Session, person, second factors, memberships, notices; reads, connections, integrations, keys, providers.
LIST_QUERIES = 15


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_provider_of_a_category_can_be_set_up(as_alice: Client, workspace: Workspace, category: str) -> None:
    for spec in catalogue().values():
        if spec.category != category:
            continue
        for grant_type in spec.grant_types:
            for page in ("configuration", "scopes", "detail"):
                answer = as_alice.get(url(page, provider_id=spec.provider_id, grant_type=grant_type.value))
                assert answer.status_code == 200, (spec.provider_id, page)
                text = unescape(answer.content.decode())
                assert spec.name in text
                assert "{{" not in text.replace("${{", "") or spec.parameters or spec.metadata


@pytest.mark.parametrize("query", ["", "?status=available", "?q=goo", "?category=CRM", "?grant=client_credentials"])
def test_the_list_costs_the_same_few_queries_whatever_is_there(
    as_alice: Client, workspace: Workspace, query: str
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(
            database,
        ) as caught:
            assert as_alice.get(url("list") + query).status_code == 200
        return len(caught)

    make_connection(make_integration(workspace, "github"))
    as_alice.get(url("list"))  # whatever is cached on the first visit
    few = queries()
    for provider_id in ("gitlab", "notion", "zoom", "slack"):
        integration = make_integration(workspace, provider_id)
        make_connection(integration)
        make_connection(integration, name="second", is_default=False)
    assert queries() == few
    assert few <= LIST_QUERIES


def test_opening_any_provider_costs_the_same_queries(as_alice: Client, workspace: Workspace) -> None:
    counted = set()
    as_alice.get(url("list"))  # whatever is cached on the first visit
    for provider_id in ("github", "zoho", "microsoft_graph", "zoom"):
        make_integration(workspace, provider_id, GrantType.AUTHORIZATION_CODE)
        with CaptureQueriesContext(database) as caught:
            as_alice.get(url("configuration", provider_id=provider_id, grant_type="authorization_code"))
        counted.add(len(caught))
    assert len(counted) == 1


def test_popular_providers_come_first_until_all_are_shown(as_alice: Client, workspace: Workspace) -> None:
    make_connection(make_integration(workspace, "github"))
    short = as_alice.get(url("list")).content.decode()
    assert "Airtable" in short
    assert "42 School" not in short
    assert "42 School" in as_alice.get(url("list") + "?status=available").content.decode()


def test_the_whole_list_travels_compressed(as_alice: Client, workspace: Workspace) -> None:
    answer = as_alice.get(url("list") + "?status=available", headers={"Accept-Encoding": "gzip"})
    assert answer["Content-Encoding"] == "gzip"
    assert len(answer.content) < 40_000


def test_a_parameter_that_the_integration_leaves_open_is_not_called_optional(
    as_alice: Client, workspace: Workspace
) -> None:
    page = as_alice.get(url("configuration", provider_id="shopify", grant_type="authorization_code")).content.decode()
    assert 'Store <span class="g-optional">· or asked for each connection</span>' in page
