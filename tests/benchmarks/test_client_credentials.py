"""Full refresh of service accounts' tokens, which may share commits, against a bare pooled session on one endpoint."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest

from integrations.models import GrantType
from tests.benchmarks.side_by_side import endpoint_process, measure, seed


@pytest.mark.benchmark
@pytest.mark.django_db(transaction=True)
def test_service_accounts_against_bare_posts(settings: Any) -> None:
    with endpoint_process() as url:
        settings.OUTBOUND_ALLOWED_HOSTS = [urlsplit(url).netloc]
        seed(url, GrantType.CLIENT_CREDENTIALS)
        measure(
            "client-credentials",
            "full refresh of service accounts' tokens, one process",
            url,
            {"grant_type": "client_credentials"},
            target=0.80,
        )
