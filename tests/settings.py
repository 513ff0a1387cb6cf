"""Settings of the test run: the real ones, with secrets of their own and nothing that waits or mails."""

from __future__ import annotations

import os
import tempfile

os.environ.setdefault("ENV_FILE", "")  # a developer's own .env is not what is tested
os.environ.setdefault("SECRET_KEY", "test-only-" + "k" * 60)
os.environ.setdefault("FERNET_KEYS", "dGVzdC1vbmx5LWtleS10aGlydHktdHdvLWJ5dGVzISE=")
os.environ.setdefault("VAR_DIR", tempfile.mkdtemp(prefix="grantry-tests-"))
os.environ.setdefault("EMAIL_URL", "memorymail://")
os.environ.setdefault("PUBLIC_BASE_URL", "http://localhost:8000")

from config.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # speed: the hash is not what is tested
ALLOWED_HOSTS = ["*"]
RATE_LIMIT_SCALE = 0.0  # tests of the limits switch them on
DATABASE_READ_CONNECTIONS = 0  # connections of their own would not see what a test's transaction wrote
AUDIT_BACKGROUND_FLUSH = False  # a thread of its own would write outside the test's transaction
# The test client and live servers go by names of their own; tests of the redirect put it back.
MIDDLEWARE = [name for name in MIDDLEWARE if name != "workspaces.middleware.CanonicalHostMiddleware"]  # noqa: F405
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):  # noqa: F405
    # A file, as in production: threads wait for each other there, and fail at once on a shared in-memory database.
    DATABASES["default"]["TEST"] = {"NAME": str(VAR_DIR / "test.sqlite3")}  # noqa: F405
    DATABASES["default"]["OPTIONS"]["init_command"] = (  # noqa: F405
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA foreign_keys=ON;"  # a power cut is not what is tested
    )
