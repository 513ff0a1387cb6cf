"""Discovery within the form of a provider: what an issuer publishes goes into the fields, what was tried stands below.

What was found travels with the form, signed, until it is saved: foreign endpoints are confirmed one by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from django.core import signing

from integrations.connections.commits import give_back_connection
from integrations.providers.definition import spec_from_definition
from integrations.providers.discovery import Discovered, DiscoveryFailed, discover
from integrations.providers.provider_forms import ENDPOINTS, ProviderForm, initial_of
from workspaces.http import WorkspaceRequest
from workspaces.rate_limits import hit

TRIES, PERIOD = 30, 60  # each asks up to a dozen addresses that the person chose
MAX_AGE = 24 * 3600
SHOWN_SCOPES = 200


@dataclass(frozen=True, slots=True)
class Panel:
    """What a discovery came to, as the page shows it."""

    issuer: str
    found: int = 0  # endpoints
    duration_ms: int = 0
    failure: str = ""
    tried: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    announced: list[str] = field(default_factory=list)
    foreign: dict[str, str] = field(default_factory=dict)  # endpoint → URL


def discover_into(form: ProviderForm, request: WorkspaceRequest) -> tuple[dict[str, Any], Panel]:
    """The form's values with what the issuer publishes, and how the search went. Raises RateLimited."""
    values = form.posted()
    issuer = str(values.get("issuer") or "").strip()
    if not issuer:
        return values, Panel(issuer, failure="Enter the issuer’s URL, then discover.")
    hit("discover", str(request.user.pk), limit=TRIES, seconds=PERIOD)
    give_back_connection()
    try:
        found = discover(issuer)
    except DiscoveryFailed as failed:
        words = " ".join(filter(None, (failed.happened, failed.description, failed.next_step)))
        tried = [asdict(attempt) for attempt in failed.tried]
        panel = Panel(issuer, 0, sum(one["duration_ms"] for one in tried), words, tried)
        return {**values, "discovered": sealed_panel(panel, request)}, panel
    panel = _panel_of(found)
    return {**merged(values, found.definition), "discovered": sealed_panel(panel, request)}, panel


def merged(values: Mapping[str, Any], definition: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the definition that was found; a name that was given stays, and so does every scope."""
    spec = spec_from_definition({"name": "", "token_endpoint": "", **definition})
    told = {name: value for name, value in initial_of(spec).items() if name in definition}
    if values.get("name"):
        told.pop("name", None)
    known = {row.get("name") for row in values.get("suggested_scopes", ())}
    more = [row for row in told.pop("suggested_scopes", ()) if row["name"] not in known]
    suggested = [row for row in values.get("suggested_scopes", ()) if row.get("name")] + more
    return {**values, **told, "suggested_scopes": suggested[:SHOWN_SCOPES], "confirmed_foreign": []}


def _panel_of(found: Discovered) -> Panel:
    metadata = found.metadata
    announced = [
        *(f"PKCE {method}" for method in metadata.code_challenge_methods_supported),
        *metadata.token_endpoint_auth_methods_supported,
    ]
    if metadata.scopes_supported:
        announced.append(f"{len(metadata.scopes_supported)} scopes")
    if metadata.registration_endpoint:
        announced.append("client registration")
    return Panel(
        issuer=metadata.issuer,
        found=sum(bool(found.definition.get(name)) for name in ENDPOINTS),
        duration_ms=found.duration_ms,
        tried=[asdict(attempt) for attempt in found.tried],
        notes=list(found.notes),
        announced=announced,
        foreign={one.field: one.url for one in found.foreign if one.field in ENDPOINTS},
    )


def sealed_panel(panel: Panel, request: WorkspaceRequest) -> str:
    """The panel as it travels with the form."""
    return signing.dumps(asdict(panel), salt=_salt(request), compress=True)


def panel_of(form: ProviderForm, request: WorkspaceRequest) -> Panel | None:
    """The panel that came with the form; None when there is none, or it is not ours."""
    text = str(form["discovered"].value() or "")
    if not text:
        return None
    try:
        return Panel(**signing.loads(text, salt=_salt(request), max_age=MAX_AGE))
    except signing.BadSignature:
        return None


def require_confirmation(form: ProviderForm, panel: Panel | None) -> None:
    """An endpoint that was discovered on another host than the issuer's is taken only once somebody confirmed it."""
    confirmed = form.cleaned_data.get("confirmed_foreign", ())
    for name, url in (panel.foreign if panel else {}).items():
        if form.cleaned_data.get(name) == url and name not in confirmed:
            form.add_error(name, "This is on another host than the issuer. Look it up, then confirm it above.")


def _salt(request: WorkspaceRequest) -> str:
    return f"discovered:{request.workspace.pk}:{request.user.pk}"
