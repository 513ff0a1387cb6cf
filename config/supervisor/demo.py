"""The demo workspace of `manage.py up`: one sign-in away, with the sandbox set up under both grant types."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from integrations.models import GrantType, Integration
from integrations.providers.base import ProviderSpec
from integrations.providers.registry import find_spec
from integrations.providers.setup import save_integration
from workspaces.audit import Actor
from workspaces.models import User, Workspace
from workspaces.workspaces import create_workspace

SLUG = "demo"
EMAIL = "demo@grantry.example"
ACTOR = Actor.operator("manage.py up")


@dataclass(frozen=True)
class SignIn:
    """What the newcomer types; no password once they have chosen one of their own."""

    email: str
    password: str | None


def ensure_demo(*, password: str, clients: dict[str, tuple[str, str]]) -> SignIn:
    """Make the demo workspace unless it is there, and point its sandbox integrations at the sandbox's clients.

    `clients` maps a grant type to client id and client secret; empty without the sandbox.
    """
    workspace = Workspace.objects.filter(slug=SLUG).first()
    if workspace is None:
        workspace, _ = create_workspace("Demo", owner_email=EMAIL, slug=SLUG, password=password, actor=ACTOR)
    if clients and settings.SANDBOX_BASE_URL:
        spec = find_spec(workspace, "sandbox")
        for grant_type, (client_id, client_secret) in clients.items():
            _set_up(workspace, spec, GrantType(grant_type), client_id, client_secret)
    owner = User.objects.filter(email__iexact=EMAIL).first()
    known = owner is not None and owner.check_password(password)
    return SignIn(email=EMAIL, password=password if known else None)


def _set_up(
    workspace: Workspace, spec: ProviderSpec, grant_type: GrantType, client_id: str, client_secret: str
) -> None:
    existing = Integration.objects.filter(
        workspace=workspace, provider_id=spec.provider_id, grant_type=grant_type
    ).first()
    if existing is not None and existing.client_id == client_id:
        return
    save_integration(
        workspace,
        spec,
        grant_type,
        client_id=client_id,
        client_secret=client_secret,
        additional_scopes=[],
        parameters=None,
        token_endpoint_auth_method=None,
        actor=ACTOR,
    )
