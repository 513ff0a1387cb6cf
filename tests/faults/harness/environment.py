"""The environment of a product process: nothing of ours but what it is given."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from tests.servers.product import clean_environment


def environment(var_dir: Path, database_url: str, redis_url: str, **more: str) -> dict[str, str]:
    """Settings of one host: its own VAR_DIR, everybody's database, broker and keys."""
    settings_of_all = {
        "ENV_FILE": "",
        "SECRET_KEY": settings.SECRET_KEY,
        "FERNET_KEYS": ",".join(key.decode() for key in settings.FERNET_KEYS),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "RATE_LIMIT_SCALE": "0",
    }
    return clean_environment(var_dir, **{**settings_of_all, **more})
