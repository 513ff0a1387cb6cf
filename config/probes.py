"""What machines ask: is the process up, can it work, and how is it doing."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import os
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, Min
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.urls import path
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from integrations.connections import spool
from integrations.crypto import SealError, open_sealed, seal
from integrations.models import Connection, PendingAuthorization, Token, TokenSchedule
from workspaces.models import Workspace

logger = logging.getLogger(__name__)

BROKER_SECONDS = 1.0


PATHS = ("/healthz", "/readyz", "/metrics")


class AnyHostMiddleware:
    """Lets probes in under whatever name or address reaches this process (a pod's, a container's)."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self.host = urlsplit(settings.PUBLIC_BASE_URL).netloc

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Put the right name in place of the one that ALLOWED_HOSTS would refuse."""
        if request.path in PATHS:
            request.META["HTTP_HOST"] = self.host
        return self.get_response(request)


class NotReady(Exception):
    """A check failed; the message is for operators and carries no secret."""


@require_safe
@never_cache
def healthz(_request: HttpRequest) -> HttpResponse:
    """The process is up; nothing else is looked at, so that an outage elsewhere restarts nobody."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
@never_cache
def readyz(_request: HttpRequest) -> JsonResponse:
    """200 when everything needed to work is there, else 503; either way each check in a word or a sentence."""
    outcomes = {name: _outcome(check) for name, check in CHECKS.items()}
    ready = all(outcome == "ok" for outcome in outcomes.values())
    return JsonResponse({"status": "ok" if ready else "unavailable", "checks": outcomes}, status=200 if ready else 503)


def _outcome(check: Callable[[], None]) -> str:
    try:
        check()
    except NotReady as error:
        return str(error)
    except DatabaseError:
        logger.exception("A readiness check could not use the database.")
        return "The database does not answer."
    return "ok"


def check_database() -> None:
    """Raise DatabaseError unless it answers."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()


def check_migrations() -> None:
    """Raise NotReady while migrations wait."""
    executor = MigrationExecutor(connection)
    waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if waiting:
        raise NotReady(f"{len(waiting)} migrations have not been applied. Run manage.py migrate.")


def check_keys() -> None:
    """Raise NotReady unless the keys in FERNET_KEYS seal and open, and open a token that is stored."""
    try:
        if open_sealed(seal("canary", "readyz"), "readyz") != "canary":
            raise NotReady("FERNET_KEYS do not open what they sealed.")
    except SealError as error:
        raise NotReady("FERNET_KEYS do not open what they sealed.") from error
    newest, oldest = Token.objects.order_by("-issued_at").first(), Token.objects.order_by("issued_at").first()
    try:
        for token in filter(None, (newest, oldest)):
            token.open()
    except SealError as error:
        raise NotReady("FERNET_KEYS do not open the stored tokens. Put the key that sealed them back.") from error


def check_broker() -> None:
    """Raise NotReady unless wake-ups can be sent."""
    if settings.REDIS_URL:
        _ping_redis()
        return
    folder = settings.CELERY_BROKER_TRANSPORT_OPTIONS["data_folder_out"]
    if not os.access(folder, os.W_OK | os.X_OK):
        raise NotReady("The embedded broker's folder under var/ cannot be written.")


def _ping_redis() -> None:
    import redis

    try:
        with redis.Redis.from_url(
            settings.REDIS_URL, socket_connect_timeout=BROKER_SECONDS, socket_timeout=BROKER_SECONDS
        ) as client:
            client.ping()
    except redis.RedisError as error:
        raise NotReady("Redis does not answer.") from error


CHECKS: dict[str, Callable[[], None]] = {
    "database": check_database,
    "migrations": check_migrations,
    "keys": check_keys,
    "broker": check_broker,
}


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Figures for Prometheus, counted in the database at each scrape.

    Counters kept in memory would be those of whichever process happens to answer; these are the same from each.
    """
    if not _may_read_metrics(request):
        return HttpResponse("Send METRICS_TOKEN as a bearer token.\n", status=403, content_type="text/plain")
    registry = CollectorRegistry(auto_describe=False)
    registry.register(DatabaseCollector())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _may_read_metrics(request: HttpRequest) -> bool:
    if settings.METRICS_TOKEN:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.encode(), settings.METRICS_TOKEN.encode())
    # Behind a proxy that nobody told us about, everybody seems to come from this machine.
    if not settings.TRUSTED_PROXY_COUNT and "X-Forwarded-For" in request.headers:
        return False
    address = getattr(request, "client_address", request.META.get("REMOTE_ADDR", ""))
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


class DatabaseCollector(Collector):
    """Reads each figure with one query."""

    def collect(self) -> Iterator[Metric]:
        """Yield the figures of the moment."""
        now = timezone.now()
        states = GaugeMetricFamily("grantry_connections", "Connections by state.", labels=["state"])
        for row in Connection.objects.values("state").annotate(count=Count("pk")).order_by("state"):
            states.add_metric([row["state"]], row["count"])
        yield states
        due = TokenSchedule.objects.filter(refresh_due_at__lte=now).aggregate(
            count=Count("pk"), oldest=Min("refresh_due_at")
        )
        yield _gauge("grantry_tokens_due", "Tokens whose renewal is due now.", due["count"])
        late = (now - due["oldest"]).total_seconds() if due["oldest"] else 0.0
        yield _gauge("grantry_token_refresh_lag_seconds", "How long the oldest due renewal has been due.", late)
        leased = TokenSchedule.objects.filter(lease_until__gt=now).count()
        yield _gauge("grantry_tokens_leased", "Tokens that a worker is renewing.", leased)
        failing = TokenSchedule.objects.filter(attempts__gt=0).count()
        yield _gauge("grantry_tokens_failing", "Tokens whose last renewal failed.", failing)
        expired = Token.objects.filter(expires_at__lte=now).count()
        yield _gauge("grantry_tokens_expired", "Stored access tokens that have expired.", expired)
        pending = PendingAuthorization.objects.filter(expires_at__gt=now).count()
        yield _gauge("grantry_authorizations_pending", "Authorizations that wait for a person.", pending)
        yield _gauge("grantry_workspaces", "Workspaces.", Workspace.objects.count())
        kept = GaugeMetricFamily(
            "grantry_spooled_answers", "Answers under var/ of this process that wait for the database.", labels=["state"]
        )
        for state, count in zip(("waiting", "stuck"), spool.count(), strict=True):
            kept.add_metric([state], count)
        yield kept


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
]
