"""The preview of a provider that is not saved yet: the form of a new connection, the requests, the expression.

The form is the one that connects, disabled; the requests come from the code that sends them.
"""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from integrations.connections.forms import NewConnectionForm
from integrations.connections.integration_page import make_page
from integrations.models import GrantType
from integrations.providers.base import CLIENT_ID, CLIENT_SECRET, ProviderSpec
from integrations.providers.preview import preview
from integrations.providers.setup import redirect_uri
from workspaces.models import Workspace


def preview_context(workspace: Workspace, spec: ProviderSpec, *, client_id: str = "") -> dict[str, Any]:
    """What `integrations/_provider_preview.html` shows of a definition."""
    grant_types, uri = spec.grant_types, redirect_uri(workspace)
    return {
        "spec": spec,
        "connection_form": sample_form(workspace, spec, grant_types[0]),
        "locked_parameters": [one for one in spec.parameters if one.key in (CLIENT_ID, CLIENT_SECRET)],
        "previews": [preview(spec, grant_type, client_id=client_id, redirect_uri=uri) for grant_type in grant_types],
        "redirect_uri": uri,
        "needs_person": spec.supports(GrantType.AUTHORIZATION_CODE),
    }


def sample_form(workspace: Workspace, spec: ProviderSpec, grant_type: GrantType) -> NewConnectionForm:
    """The form of the first connection, to look at."""
    page = make_page(workspace, spec, grant_type, None, (), timezone.now())
    return NewConnectionForm(page=page, auto_id="preview_%s")
