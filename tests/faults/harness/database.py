"""The product's models in the test's own process, over an installation's database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import environ
from django.apps import apps
from django.db import connections
from django.db.models import F

ALIAS = "default"
# Columns that hold a moment which somebody waits for, and those of leases.
AWAITED = {"refresh_due_at", "until", "next_probe_at"}
LEASES = {"lease_until", "suspected_at"}


@contextmanager
def models_use(url: str) -> Iterator[None]:
    """Within the block Django's default database is this one."""
    before = connections.databases[ALIAS]
    settings = {**before, **environ.Env.db_url_config(url), "OPTIONS": {}, "CONN_MAX_AGE": None}
    _point_to(settings)
    try:
        yield
    finally:
        _point_to(before)


def reconnect() -> None:
    """Forget the connection: the server at its other end was restarted."""
    connections[ALIAS].close()


def let_pass(seconds: float) -> None:
    """Move all times that the engine waits for that far back, instead of waiting; leases stay.

    The database's clock decides about them, so this is what a process sees that has slept so long.
    """
    _move_back(AWAITED, seconds)


def let_leases_run_out(seconds: float = 75.0) -> None:
    """The same for leases. Only for those of the dead: nobody else may take what a living process holds."""
    _move_back(LEASES, seconds)


def _move_back(columns: set[str], seconds: float) -> None:
    shift = timedelta(seconds=seconds)
    for model in apps.get_app_config("integrations").get_models():
        names = [field.name for field in model._meta.concrete_fields if field.name in columns]
        if names:
            moved: dict[str, Any] = {name: F(name) - shift for name in names}
            model._default_manager.update(**moved)


def _point_to(settings: dict[str, Any]) -> None:
    connections[ALIAS].close()
    del connections[ALIAS]
    connections.databases[ALIAS] = settings
