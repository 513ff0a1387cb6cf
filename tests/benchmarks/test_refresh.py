"""Full refresh (claim, POST, parse, encrypt, commit per token, audit) against a bare pooled session on one endpoint."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest

from integrations.models import GrantType
from tests.benchmarks.side_by_side import endpoint_process, measure, seed


@pytest.mark.benchmark
@pytest.mark.django_db(transaction=True)
def test_full_refresh_against_bare_posts(settings: Any) -> None:
    with endpoint_process() as url:
        settings.OUTBOUND_ALLOWED_HOSTS = [urlsplit(url).netloc]
        seed(url, GrantType.AUTHORIZATION_CODE)
        measure(
            "refresh",
            "full refresh of rotating tokens, one process",
            url,
            {"grant_type": "refresh_token", "refresh_token": "old-{}"},
            target=0.50,
        )
