"""Services once per test process, a database, a provider and an installation for each test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.harness.database import models_use
from tests.faults.harness.installation import Installation, running_installation
from tests.faults.harness.services import Services, running_services, why_missing
from tests.servers.strict_rotating import Realm, StrictServer, strict_server


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """PostgreSQL and Redis that tests may harm."""
    if missing := why_missing():
        pytest.skip(missing)
    with running_services() as running:
        yield running


@pytest.fixture
def provider() -> Iterator[StrictServer]:
    """An authorization server on which each refresh token may be spent once."""
    with strict_server() as server:
        yield server


@pytest.fixture
def realm(provider: StrictServer) -> Realm:
    """Its token endpoint."""
    return provider.realm("main")


@pytest.fixture
def installation(
    services: Services, provider: StrictServer, settings: Any, django_db_blocker: Any
) -> Iterator[Installation]:
    """Hosts without processes; the models of this process read and write its database."""
    services.heal()
    settings.OUTBOUND_ALLOWED_HOSTS = [provider.host]
    with (
        tempfile.TemporaryDirectory(prefix="grantry-hosts-") as folder,
        django_db_blocker.unblock(),
        running_installation(services, provider, Path(folder)) as running,
        models_use(running.database_url),
    ):
        yield running
