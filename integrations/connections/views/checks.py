"""Test connection, Fetch token, Try now: one real call to the provider, and how it went."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_POST

from integrations.connections.client_credentials import fetch_token as fetch_a_token
from integrations.connections.errors import FlowRefused, describe_code, naming
from integrations.connections.forms import has_open_parameters
from integrations.connections.integration_page import load_page
from integrations.connections.refresh import refresh_connection
from integrations.connections.status import StatusExplanation
from integrations.connections.testing import TestResult, test_connection
from integrations.connections.usage import earlier_tests
from integrations.connections.views.authorization import PERIOD, TRIES, go, in_words, named_connection, too_many
from integrations.connections.views.header import actor_of, page_context
from integrations.oauth.errors import OAuthError
from workspaces.access import workspace_view
from workspaces.errors import RateLimited
from workspaces.http import WorkspaceRequest
from workspaces.rate_limits import hit
from workspaces.roles import Permission

SHORTEST_BAR = 1.5  # percent: a step of no time is seen all the same


@dataclass(frozen=True, slots=True)
class TimelineStep:
    """A step of a test with its place on the time line, in percent of the whole test."""

    label: str
    ok: bool | None
    detail: str
    duration_ms: int
    offset: float
    share: float
    running: bool = False


def timeline(result: TestResult) -> list[TimelineStep]:
    """The steps one after the other; those not reached take no time, and the failed one is told beside it."""
    took = [step.duration_ms or 0 for step in result.steps]
    total = max(sum(took), 1)
    steps: list[TimelineStep] = []
    for number, step in enumerate(result.steps):
        share = 0.0 if step.ok is None else max(100 * took[number] / total, SHORTEST_BAR)
        offset = min(100 * sum(took[:number]) / total, 100 - share)
        steps.append(TimelineStep(step.label, step.ok, step.detail if step.ok else "", took[number], offset, share))
    return steps


def in_sentences(result: TestResult, explanation: StatusExplanation, provider_name: str) -> dict[str, str]:
    """What a test found and what to do about it, each said once; a trouble that stays is told in its own words."""
    described = describe_code(result.code)
    tells = result.ok or result.code == "parameter_refused"  # its own sentence names the parameter
    next_step = explanation.next_step if explanation.code == result.code else described.next_step
    return {
        "happened": naming(result.message if tells else described.happened, provider_name),
        "next_step": "" if result.ok else naming(next_step, provider_name),
    }


@require_POST
@workspace_view(Permission.CONNECTION_USE)
def test(request: WorkspaceRequest, provider_id: str, grant_type: str) -> HttpResponse:
    """Make one real call and show its steps; with htmx the result takes the place of the tab's content."""
    page = load_page(request, provider_id, grant_type, timezone.now())
    connection = named_connection(page, request.POST)
    if page.integration is None or not page.is_configured:
        messages.warning(request, "Save the client credentials first.")
        return go(request, page.url("configuration"))
    try:
        hit("test", str(request.user.pk), limit=TRIES, seconds=PERIOD)
    except RateLimited as error:
        return too_many(request, error)
    result = test_connection(page.integration, connection, actor=actor_of(request))
    page = load_page(request, provider_id, grant_type, timezone.now())
    tested = next((c for c in page.connections if connection and c.pk == connection.pk), page.default)
    explanation = page.explanation(tested)
    context = page_context(request, page, "overview") | {
        "result": result,
        **in_sentences(result, explanation, page.spec.name),
        "steps": timeline(result),
        "connection": tested,
        "explanation": explanation,
        "step": page.next_step(tested, can=request.can),
        "earlier": earlier_tests(page.workspace, page.integration, page.connections) if page.integration else [],
        "live_url": page.url("connection", connection_id=tested.pk) if tested else page.url("detail"),
    }
    template = "integrations/test.html#panel" if request.htmx else "integrations/test.html"
    return render(request, template, context)


@require_POST
@workspace_view(Permission.CONNECTION_USE)
def fetch_token(request: WorkspaceRequest, provider_id: str, grant_type: str) -> HttpResponse:
    """Fetch a token with the client's own credentials (RFC 6749 §4.4)."""
    page = load_page(request, provider_id, grant_type, timezone.now())
    connection = named_connection(page, request.POST)
    if page.integration is None or not page.is_configured:
        messages.warning(request, "Save the client credentials first.")
        return go(request, page.url("configuration"))
    if connection is None and has_open_parameters(page):
        return go(request, page.url("connection_new"))
    try:
        hit("connect", str(request.user.pk), limit=TRIES, seconds=PERIOD)
        fetched = fetch_a_token(
            page.integration,
            connection=connection,
            name=connection.name if connection else "default",
            actor=actor_of(request),
        )
    except RateLimited as error:
        return too_many(request, error)
    except (OAuthError, FlowRefused) as error:
        messages.error(request, in_words(error, page.spec))
        return go(request, page.url("connection", connection_id=connection.pk) if connection else page.url("detail"))
    messages.success(request, "A token was fetched and stored.")
    return go(request, page.url("connection", connection_id=fetched.pk))


@require_POST
@workspace_view(Permission.CONNECTION_USE)
def refresh(request: WorkspaceRequest, provider_id: str, grant_type: str, connection_id: UUID) -> HttpResponse:
    """Renew a token now, whatever the schedule says."""
    page = load_page(request, provider_id, grant_type, timezone.now())
    connection = page.find(connection_id)
    try:
        hit("connect", str(request.user.pk), limit=TRIES, seconds=PERIOD)
    except RateLimited as error:
        return too_many(request, error)
    outcome = refresh_connection(connection.pk, forced=True, actor=actor_of(request))
    if outcome.refreshed:
        messages.success(request, "The token was renewed.")
    else:
        messages.warning(request, naming(outcome.message, page.spec.name) or "The token was not renewed.")
    return go(request, page.url("connection", connection_id=connection.pk))
