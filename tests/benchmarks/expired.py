"""Connections whose tokens ran out, at a provider of one's own: `python -m tests.benchmarks.expired ENDPOINT COUNT`.

Runs in the environment of the database; prints the connections' ids and the key that reads them as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import timedelta


def make(token_endpoint: str, count: int) -> dict[str, object]:
    """So many connections, each with a token that ran out an hour ago and a refresh token `old-<number>`."""
    from django.utils import timezone

    from integrations.providers.custom import create_custom_provider
    from tests.factories import make_connection, make_integration
    from workspaces.api_keys import create_api_key
    from workspaces.audit import Actor
    from workspaces.models import Workspace

    operator = Actor.operator("benchmark")
    workspace = Workspace.objects.create(name="Slow", slug=f"slow-{time.time_ns()}")
    definition = {
        "name": "Slow",
        "grant_types": ["authorization_code"],
        "authorization_endpoint": token_endpoint.replace("/token", "/authorize"),
        "token_endpoint": token_endpoint,
    }
    provider = create_custom_provider(workspace, definition, actor=operator)
    integration = make_integration(workspace, provider.provider_id)
    new = create_api_key(workspace, name="reader", scopes=["tokens:read"], actor=operator, created_by=None)
    long_ago = timezone.now() - timedelta(hours=2)
    made = [
        make_connection(
            integration, f"c{number}", provider_version=1, issued_at=long_ago, refresh_token=f"old-{number}"
        )
        for number in range(count)
    ]
    return {"key": new.key, "ids": [str(connection.pk) for connection in made]}


if __name__ == "__main__":
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    print(json.dumps(make(sys.argv[1], int(sys.argv[2]))))
