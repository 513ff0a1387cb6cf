"""Keys for private_key_jwt: the public key set, their card in the configuration, the pages that rotate and delete."""

from __future__ import annotations

import json
from dataclasses import dataclass
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from integrations.connections.integration_page import IntegrationPage, load_page
from integrations.connections.views.header import actor_of
from integrations.models import ClientKey, ClientKeyAlgorithm
from integrations.oauth.client_assertion import public_pem
from integrations.providers.base import ClientAuth
from integrations.providers.client_keys import (
    KEY_SET_MAX_AGE,
    OVERLAP,
    PUBLISHED_BEFORE_SIGNING,
    KeyRefused,
    delete_key,
    jwks_uri,
    key_set,
    rotate_key,
)
from integrations.providers.setup import client_auth_method
from workspaces.access import workspace_view
from workspaces.http import WorkspaceRequest
from workspaces.roles import Permission

UNPROCESSABLE = 422


@require_safe
def jwks(request: HttpRequest, integration_id: UUID) -> HttpResponse:  # noqa: ARG001 (a view)
    """The public keys of an integration (RFC 7517 §5), for its provider: nobody is signed in."""
    found = key_set(integration_id, now=timezone.now())
    if found is None:
        raise Http404
    response = JsonResponse(found, content_type="application/jwk-set+json")
    response["Cache-Control"] = f"public, max-age={int(KEY_SET_MAX_AGE.total_seconds())}"
    return response


@dataclass(frozen=True, slots=True)
class ShownKey:
    """A key on the page. `delete_url` is empty while it must not go."""

    key: ClientKey
    signs: bool
    delete_url: str


@dataclass(frozen=True, slots=True)
class KeyCard:
    """The newest key, and the older ones that are still published."""

    jwks_uri: str
    current: ShownKey
    older: tuple[ShownKey, ...]
    in_use: bool
    rotate_url: str

    @property
    def jwk(self) -> str:
        """The public key for providers that take a JWK."""
        return json.dumps(self.current.key.public_jwk, indent=2)

    @property
    def pem(self) -> str:
        """The same as PEM."""
        return public_pem(self.current.key.public_jwk)

    @property
    def algorithm(self) -> str:
        """Without the words that help to choose one."""
        return str(self.current.key.get_algorithm_display()).partition(":")[0]


def key_card(page: IntegrationPage) -> KeyCard | None:
    """What the configuration says about the integration's keys; None where there is none."""
    integration = page.integration
    key = integration.client_key if integration is not None else None
    if integration is None or key is None:
        return None
    in_use = client_auth_method(page.spec, integration) is ClientAuth.PRIVATE_KEY_JWT
    signing = integration.signing_client_key(page.now)

    def shown(one: ClientKey) -> ShownKey:
        may_go = not (in_use and one == key)
        url = page.url("client_key_delete", client_key_id=one.pk) if may_go else ""
        return ShownKey(one, in_use and one == signing, url)

    older = tuple(shown(one) for one in integration.client_keys.all() if one != key and one.is_published(page.now))
    return KeyCard(jwks_uri(integration), shown(key), older, in_use, page.url("client_key_rotate"))


class RotationForm(forms.Form):
    """How the new key signs."""

    algorithm = forms.ChoiceField(
        label="Algorithm of the new key", choices=ClientKeyAlgorithm.choices, widget=forms.RadioSelect
    )


@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.INTEGRATION_MANAGE)
def client_key_rotate(request: WorkspaceRequest, provider_id: str, grant_type: str) -> HttpResponse:
    """Say what a rotation does, then do it."""
    page = load_page(request, provider_id, grant_type, timezone.now())
    key = page.integration.client_key if page.integration is not None else None
    if page.integration is None or key is None:
        raise Http404
    form = RotationForm(request.POST if request.method == "POST" else None, initial={"algorithm": key.algorithm})
    if request.method != "POST" or not form.is_valid():
        times = {"signs_after": PUBLISHED_BEFORE_SIGNING, "overlap": OVERLAP}
        context = {"spec": page.spec, "form": form, "configuration_url": page.url("configuration"), **times}
        status = UNPROCESSABLE if form.errors else 200
        return render(request, "integrations/client_key_rotate.html", context, status=status)
    try:
        rotate_key(page.integration, actor=actor_of(request), algorithm=form.cleaned_data["algorithm"])
    except KeyRefused as refused:
        messages.error(request, str(refused))
    else:
        messages.success(request, "There is a new key. The old one stays published for a day.")
    return redirect(page.url("configuration"))


@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.INTEGRATION_MANAGE)
def client_key_delete(
    request: WorkspaceRequest, provider_id: str, grant_type: str, client_key_id: UUID
) -> HttpResponse:
    """Say what is lost, then delete the key."""
    page = load_page(request, provider_id, grant_type, timezone.now())
    key = page.integration.client_keys.filter(pk=client_key_id).first() if page.integration is not None else None
    if key is None:
        raise Http404
    if request.method != "POST":
        urls = {"action": page.url("client_key_delete", client_key_id=key.pk), "cancel_url": page.url("configuration")}
        return render(request, "integrations/client_key_delete.html", {"spec": page.spec, "key": key, **urls})
    try:
        delete_key(key, page.spec, actor=actor_of(request))
    except KeyRefused as refused:
        messages.error(request, str(refused))
    else:
        messages.success(request, "The key was deleted and is no longer published.")
    return redirect(page.url("configuration"))
