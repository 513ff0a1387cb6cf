"""Settings: read from the environment, then `.env`, then `var/local.env` (written by `manage.py up`).

Every value that an operator may set is documented in `.env.example`. Outside DEBUG the process refuses to
start on a missing or default secret and names it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from csp.constants import NONE, SELF

from config.environment import (
    PROJECT_DIR,
    database_pool,
    embedded_broker,
    read_env_files,
    redis_transport_options,
    require_fernet_keys,
    require_secret_key,
)
from config.logs import logging_settings

env = environ.Env()
BASE_DIR: Path = PROJECT_DIR
VAR_DIR: Path = read_env_files(BASE_DIR)
VAR_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = require_secret_key(env.str("SECRET_KEY", default=""), debug=DEBUG)
FERNET_KEYS = require_fernet_keys(env.list("FERNET_KEYS", default=[]), debug=DEBUG)
FERNET_USE_HKDF = False  # each key is used as it is; see docs/security.md

# Where people and authorization servers reach this installation. Cookies, HSTS, CSRF and the redirect URI follow it.
# Without one of its own it follows the port (`PORT=9000 make run`).
PORT = int(env.str("PORT", default="") or 8000)
PUBLIC_BASE_URL = env.str("PUBLIC_BASE_URL", default=f"http://localhost:{PORT}").rstrip("/")
_public = urlsplit(PUBLIC_BASE_URL)
IS_HTTPS = _public.scheme == "https"
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[_public.hostname or "localhost", "localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"]
TRUSTED_PROXY_COUNT = env.int("TRUSTED_PROXY_COUNT", default=0)
RATE_LIMIT_SCALE = env.float("RATE_LIMIT_SCALE", default=1.0)
OUTBOUND_ALLOWED_HOSTS = env.list("OUTBOUND_ALLOWED_HOSTS", default=[])
# Whoever sends it as a bearer token reads /metrics; without it only this machine does.
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")

# The sandbox authorization server of `manage.py up`: its provider exists only while this is set.
SANDBOX_BASE_URL = env.str("SANDBOX_BASE_URL", default="").rstrip("/")
# Its clients by grant type (id, secret), so that a new workspace can try it without registering anything.
SANDBOX_CLIENTS = {
    "authorization_code": (env.str("SANDBOX_CLIENT_ID", default=""), env.str("SANDBOX_CLIENT_SECRET", default="")),
    "client_credentials": (
        env.str("SANDBOX_SERVICE_CLIENT_ID", default=""),
        env.str("SANDBOX_SERVICE_CLIENT_SECRET", default=""),
    ),
}

INSTALLED_APPS = [
    "config.apps.GrantryConfig",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.forms",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "csp",
    "django_htmx",
    "template_partials",
    "workspaces",
    "integrations",
]

MIDDLEWARE = [
    "workspaces.middleware.RequestIdMiddleware",  # first: every answer, redirects and refusals too, carries its id
    "config.logs.RequestIdLogMiddleware",
    "config.probes.AnyHostMiddleware",
    "workspaces.middleware.RedirectHostMiddleware",  # before anything that asks for the host name
    "django.middleware.security.SecurityMiddleware",
    "config.static_compression.CompressStaticFiles",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "workspaces.middleware.CanonicalHostMiddleware",  # after CSP: the page for a refused host name has the policy too
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "config.urls"
REDIRECT_HOST_URLCONF = "config.redirect_host_urls"  # all there is on a workspace's redirect host
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "workspaces.context_processors.workspaces",
            ],
        },
    }
]
FORM_RENDERER = "workspaces.form_renderer.GrantryFormRenderer"

# --- data -----------------------------------------------------------------------------------------------
DATABASES: dict[str, Any] = {"default": env.db_url("DATABASE_URL", default=f"sqlite:///{VAR_DIR / 'grantry.sqlite3'}")}
_database = DATABASES["default"]
if _database["ENGINE"] == "django.db.backends.sqlite3":
    # IMMEDIATE: a transaction that will write takes its lock at once, so it waits instead of failing half-way.
    # synchronous=FULL: a rotated refresh token that was committed survives a power cut.
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;",
    }
elif _database["ENGINE"] == "django.db.backends.postgresql":
    _pooled = database_pool(env.int("DATABASE_POOL_SIZE", default=16))
    _options = {"connect_timeout": 5, **_database.get("OPTIONS", {}), **_pooled.pop("OPTIONS", {})}
    _database.update(_pooled, OPTIONS=_options)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.str("REDIS_URL", default="")
CACHES: dict[str, Any] = {
    # Rate limits must count across processes: Redis, else a table (a cache per process would divide the limits).
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}
    if REDIS_URL
    else {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "cache",
        "OPTIONS": {"MAX_ENTRIES": 10_000},  # the default of 300 would cull sign-in limits that still count
    }
}

# --- processes ------------------------------------------------------------------------------------------
WEB_PROCESSES = env.int("WEB_PROCESSES", default=2)
# A reader that waits for a token being renewed holds its thread; see config/webserver.py for the figure.
WEB_THREADS = env.int("WEB_THREADS", default=256)
WORKER_PROCESSES = env.int("WORKER_PROCESSES", default=0)  # 0: one per core

# --- Celery: the broker carries wake-ups, never state ---------------------------------------------------
if REDIS_URL:
    CELERY_BROKER_URL, CELERY_BROKER_TRANSPORT_OPTIONS = REDIS_URL, redis_transport_options()
else:
    CELERY_BROKER_URL, CELERY_BROKER_TRANSPORT_OPTIONS = embedded_broker(VAR_DIR)
# Short, and once: the web process never waits for a broker that is away, and beat wakes the workers anyway.
CELERY_BROKER_CONNECTION_TIMEOUT = 2
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0.1, "interval_step": 0.1, "interval_max": 0.2}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_POOL = "threads"
CELERY_WORKER_CONCURRENCY = env.int("WORKER_THREADS", default=8)
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_ENABLE_REMOTE_CONTROL = bool(REDIS_URL)  # on the file-system broker it would leave queues behind
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False  # a refresh under way ends, broker or not
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_DEFAULT_QUEUE = "grantry"
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE_FILENAME = str(VAR_DIR / "celerybeat-schedule")
# A wake-up that nobody took is dropped some time: while workers are away they must not pile up for days. Celery goes by
# the clocks of both machines, which may be minutes apart, so this is long; doing nothing an hour's times is quick.
WAKE_UP_SECONDS = 3600
_wake_up = {"expires": WAKE_UP_SECONDS}
CELERY_BEAT_SCHEDULE = {
    "refresh-due-tokens": {"task": "integrations.refresh_due", "schedule": 10.0, "options": _wake_up},
    "sweep-expired-rows": {"task": "integrations.sweep", "schedule": 300.0, "options": _wake_up},
}

# --- accounts -------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "workspaces.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "workspaces.accounts.InvitationOnlyAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_CHANGE_EMAIL = True
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False  # a password reset never mails someone who has no account
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = "[Grantry] "
ACCOUNT_DEFAULT_HTTP_PROTOCOL = _public.scheme
MFA_ADAPTER = "integrations.second_factors.SealingAdapter"
MFA_TOTP_ISSUER = "Grantry"  # else the request's host names it
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = False
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not IS_HTTPS
USERSESSIONS_TRACK_ACTIVITY = True
ALLAUTH_TRUSTED_PROXY_COUNT = TRUSTED_PROXY_COUNT

EMAIL_CONFIG = env.email_url("EMAIL_URL", default="consolemail://")
vars().update(EMAIL_CONFIG)
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default=f"Grantry <grantry@{_public.hostname}>")
SERVER_EMAIL = DEFAULT_FROM_EMAIL

# --- web ------------------------------------------------------------------------------------------------
_cookie_prefix = "__Host-" if IS_HTTPS else "grantry_"
SESSION_ENGINE = "workspaces.sessions"
SESSION_COOKIE_NAME = f"{_cookie_prefix}session"
CSRF_COOKIE_NAME = f"{_cookie_prefix}csrf"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 14 * 24 * 3600
# Only a service account's key file is taken, in memory: a larger upload is dropped, and none is ever written to disk.
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.MemoryFileUploadHandler"]
FILE_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024
CSRF_FAILURE_VIEW = "workspaces.views.errors.csrf_failure"
SECURE_SSL_REDIRECT = IS_HTTPS
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]  # probes come from inside, without TLS
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if IS_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = IS_HTTPS
SECURE_REFERRER_POLICY = "same-origin"  # no-referrer would make Chromium send Origin: null with forms
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if TRUSTED_PROXY_COUNT:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "frame-ancestors": [NONE],
        "form-action": [SELF],
        "base-uri": [NONE],
        "object-src": [NONE],
    }
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
# `serve` and `up` need no collectstatic: WhiteNoise then serves from the app's folders. With STATIC_MANIFEST
# (the container image) files carry their hash in the name and are cached for ever.
STATIC_MANIFEST = env.bool("STATIC_MANIFEST", default=False)
WHITENOISE_USE_FINDERS = not STATIC_MANIFEST
STATIC_ROOT = BASE_DIR / "staticfiles" if STATIC_MANIFEST else VAR_DIR / "static"
STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # WhiteNoise warns about one that is not there
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if STATIC_MANIFEST
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

LOGGING = logging_settings(env.str("LOG_LEVEL", default="INFO"))

# Token reads are recorded by a thread within a second; off, they wait for `audit.flush()` (tests).
AUDIT_BACKGROUND_FLUSH = True

# Lifetimes that both the engine and its tests read.
PENDING_AUTHORIZATION_SECONDS = 600
CONNECT_LINK_SECONDS = 24 * 3600
