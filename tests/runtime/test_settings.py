"""Settings: what is refused at start and in which words, and what follows from what."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from config import environment
from config.environment import require_fernet_keys, require_secret_key
from tests.runtime.deployment import ROOT, production_environment

GOOD_KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "SECRET_KEY is not set"),
        ("change-me", "SECRET_KEY is a default value"),
        ("django-insecure-" + "x" * 60, "SECRET_KEY is a default value"),
        (environment.DEBUG_SECRET_KEY, "SECRET_KEY is a default value"),
        ("short", "SECRET_KEY is too short"),
    ],
)
def test_a_bad_secret_key_is_refused_by_name(value: str, words: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=words):
        require_secret_key(value, debug=False)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "FERNET_KEYS is not set"),
        (["", " "], "FERNET_KEYS is not set"),
        (["not base64!"], "FERNET_KEYS: key 1 is not urlsafe base64"),
        ([GOOD_KEY, "äöü"], "FERNET_KEYS: key 2 is not urlsafe base64"),
        ([base64.urlsafe_b64encode(b"short").decode()], "FERNET_KEYS: key 1 has 5 bytes; 32 are needed"),
        ([environment.DEBUG_FERNET_KEY], "FERNET_KEYS: key 1 is a default value"),
        ([base64.urlsafe_b64encode(bytes(32)).decode()], "FERNET_KEYS: key 1 is a default value"),
    ],
)
def test_bad_fernet_keys_are_refused_by_name_and_position(values: list[str], words: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=words) as caught:
        require_fernet_keys(values, debug=False)
    assert not any(value.strip() and value in str(caught.value) for value in values)


def test_under_debug_a_checkout_starts_without_secrets() -> None:
    assert require_secret_key("", debug=True) == environment.DEBUG_SECRET_KEY
    assert require_fernet_keys([], debug=True) == [environment.DEBUG_FERNET_KEY.encode()]


def test_fernet_keys_keep_their_order() -> None:
    other = base64.urlsafe_b64encode(bytes(range(32, 64))).decode()

    assert require_fernet_keys([f" {other} ", GOOD_KEY], debug=False) == [other.encode(), GOOD_KEY.encode()]


def loaded(names: list[str], var_dir: Path, **environ: str) -> dict[str, object]:
    """Settings as a fresh process sees them."""
    script = (
        "import json, sys; from django.conf import settings; "
        "print(json.dumps({n: getattr(settings, n) for n in sys.argv[1:]}, default=str))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *names],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "SECRET_KEY": "k9" * 40,
            "FERNET_KEYS": GOOD_KEY,
            "VAR_DIR": str(var_dir),
            "ENV_FILE": "",
            **environ,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("missing", ["SECRET_KEY", "FERNET_KEYS"])
def test_a_process_without_a_secret_does_not_start_and_names_it(tmp_path: Path, missing: str) -> None:
    with pytest.raises(AssertionError, match=f"{missing} is not set"):
        loaded(["DEBUG"], tmp_path, **{missing: ""})


def test_cookies_and_hsts_follow_the_scheme_of_the_public_address(tmp_path: Path) -> None:
    names = ["SESSION_COOKIE_NAME", "CSRF_COOKIE_NAME", "SESSION_COOKIE_SECURE", "SECURE_HSTS_SECONDS", "DEBUG"]

    plain = loaded(names, tmp_path, PUBLIC_BASE_URL="http://localhost:8000")
    secure = loaded(names, tmp_path, PUBLIC_BASE_URL="https://grantry.example.com/")

    assert list(plain.values()) == ["grantry_session", "grantry_csrf", False, 0, False]
    assert list(secure.values()) == ["__Host-session", "__Host-csrf", True, 31536000, False]


def test_the_public_address_follows_the_port_unless_it_is_set(tmp_path: Path) -> None:
    assert loaded(["PUBLIC_BASE_URL"], tmp_path, PORT="9123") == {"PUBLIC_BASE_URL": "http://localhost:9123"}
    assert loaded(["PUBLIC_BASE_URL"], tmp_path, PORT="") == {"PUBLIC_BASE_URL": "http://localhost:8000"}
    chosen = loaded(["PUBLIC_BASE_URL"], tmp_path, PORT="9123", PUBLIC_BASE_URL="https://a.example")
    assert chosen == {"PUBLIC_BASE_URL": "https://a.example"}


def test_the_environment_wins_over_env_file_and_that_over_local_env(tmp_path: Path) -> None:
    (tmp_path / "local.env").write_text("DEFAULT_FROM_EMAIL=local\nLOG_LEVEL=ERROR\nTRUSTED_PROXY_COUNT=3\n")
    (tmp_path / "env").write_text("DEFAULT_FROM_EMAIL=file\nTRUSTED_PROXY_COUNT=2\n")
    names = ["DEFAULT_FROM_EMAIL", "TRUSTED_PROXY_COUNT"]

    seen = loaded(names, tmp_path, ENV_FILE=str(tmp_path / "env"), DEFAULT_FROM_EMAIL="environment")

    assert seen == {"DEFAULT_FROM_EMAIL": "environment", "TRUSTED_PROXY_COUNT": 2}


def test_redis_is_asked_briefly_and_postgresql_through_a_pool(tmp_path: Path) -> None:
    names = ["CELERY_BROKER_URL", "CELERY_BROKER_TRANSPORT_OPTIONS", "DATABASES", "CACHES"]
    seen = loaded(
        names, tmp_path, REDIS_URL="redis://r.example:6379/1", DATABASE_URL="postgresql://u@d.example/n?sslmode=require"
    )
    database, options = seen["DATABASES"], seen["CELERY_BROKER_TRANSPORT_OPTIONS"]
    assert isinstance(database, dict)
    assert isinstance(options, dict)

    assert seen["CELERY_BROKER_URL"] == "redis://r.example:6379/1"
    assert options["socket_connect_timeout"] == 2
    assert database["default"]["OPTIONS"]["pool"]["max_size"] == 16
    assert database["default"]["OPTIONS"]["sslmode"] == "require"
    assert database["default"]["CONN_MAX_AGE"] == 0
    unpooled = loaded(["DATABASES"], tmp_path, DATABASE_URL="postgresql://u@d.example/n", DATABASE_POOL_SIZE="0")
    assert "pool" not in str(unpooled)


def test_every_setting_that_is_read_is_in_the_example_file() -> None:
    import re

    source = "".join((ROOT / "config" / name).read_text() for name in ("settings.py", "environment.py"))
    read = set(re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', source))
    documented = set(re.findall(r"^(?:# )?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert read - documented == set()


def test_check_deploy_is_clean_with_the_documented_production_settings(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env=production_environment(str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "no issues (0 silenced)" in done.stdout


BARE = {"PATH": os.environ["PATH"], "ENV_FILE": ""}


def test_a_fresh_clone_can_check_its_migrations(tmp_path: Path) -> None:
    command = [sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"]
    done = subprocess.run(
        command, cwd=ROOT, env={**BARE, "VAR_DIR": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "No changes detected\n"), done.stderr


def test_a_missing_setting_is_told_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={**BARE, "VAR_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("manage.py: SECRET_KEY is not set.")
    assert done.stderr.count("\n") == 1
