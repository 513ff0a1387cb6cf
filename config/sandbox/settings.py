"""Settings of the sandbox: everything comes from SANDBOX_* variables, which `manage.py sandbox` passes on."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import environ

BASE_DIR = Path(__file__).resolve().parent
env = environ.Env()

VAR_DIR = Path(env.str("VAR_DIR", default=str(BASE_DIR.parent.parent / "var")))
VAR_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)

BASE_URL = env.str("SANDBOX_BASE_URL", default="http://localhost:8001").rstrip("/")
SECRET_KEY = env.str("SANDBOX_SECRET_KEY")
DEBUG = False
ALLOWED_HOSTS = [urlsplit(BASE_URL).hostname or "localhost", "localhost", "127.0.0.1"]

# The two clients made at start, and where the first one may send people back to.
AUTHORIZATION_CODE_CLIENT = (env.str("SANDBOX_CLIENT_ID"), env.str("SANDBOX_CLIENT_SECRET"))
CLIENT_CREDENTIALS_CLIENT = (env.str("SANDBOX_SERVICE_CLIENT_ID"), env.str("SANDBOX_SERVICE_CLIENT_SECRET"))
REDIRECT_URIS = env.list("SANDBOX_REDIRECT_URIS", default=["http://localhost:8000/oauth/callback"])

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "oauth2_provider",
    "config.sandbox.apps.SandboxConfig",
]
MIDDLEWARE = [
    "config.sandbox.middleware.ContentSecurityPolicyMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.sandbox.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
            ]
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(VAR_DIR / "sandbox.sqlite3"),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "home"
# Cookies ignore ports: Grantry on the same host must not lose its session to ours.
SESSION_COOKIE_NAME = "sandbox_session"
CSRF_COOKIE_NAME = "sandbox_csrf"
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True

SCOPES = {
    "profile": "See your name and e-mail address",
    "notes:read": "Read your notes",
    "notes:write": "Write notes in your name",
}
OAUTH2_PROVIDER = {
    "SCOPES": SCOPES,
    "DEFAULT_SCOPES": ["profile"],
    # Two minutes, so that a newcomer sees a token renew by itself.
    "ACCESS_TOKEN_EXPIRE_SECONDS": env.int("SANDBOX_TOKEN_SECONDS", default=120),
    "AUTHORIZATION_CODE_EXPIRE_SECONDS": 60,
    "REFRESH_TOKEN_EXPIRE_SECONDS": 30 * 24 * 3600,
    # RFC 9700 §4.14.2: a refresh token is spent by its use; spending it twice revokes all that came from it.
    "ROTATE_REFRESH_TOKEN": True,
    "REFRESH_TOKEN_REUSE_PROTECTION": True,
    "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": 0,
    "PKCE_REQUIRED": True,
    "REQUEST_APPROVAL_PROMPT": "force",
    "ALLOWED_REDIRECT_URI_SCHEMES": ["http", "https"],
    # Tests do not know their port when the sandbox starts.
    "ALLOW_LOCALHOST_LOOPBACK": env.bool("SANDBOX_ANY_LOCALHOST_PORT", default=False),
    "OIDC_ISS_ENDPOINT": BASE_URL,
    "OAUTH2_GRANT_TYPES_SUPPORTED": ["authorization_code", "client_credentials", "refresh_token"],
    "OAUTH2_RESPONSE_TYPES_SUPPORTED": ["code"],
    # What RFC 9700 asks of an authorization server.
    "COMPLIANT_BCP_RFC9700_IMPLICIT_GRANT": True,
    "COMPLIANT_BCP_RFC9700_PASSWORD_GRANT": True,
    "COMPLIANT_BCP_RFC9700_PKCE_METHOD": True,
    "COMPLIANT_BCP_RFC9700_ACCESS_TOKEN_TRANSPORT": True,
    "COMPLIANT_BCP_RFC9700_AUTHZ_RESPONSE_ISS": True,
    "COMPLIANT_BCP_RFC9700_TOKEN_STORAGE": True,
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    # Their lower levels print request bodies and tokens.
    "loggers": {"oauth2_provider": {"level": "ERROR"}, "oauthlib": {"level": "WARNING"}},
}
