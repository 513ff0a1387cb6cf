"""Providers: built-in ones to read, custom ones to make, change, publish and delete."""

from __future__ import annotations

from typing import Annotated

from ninja import Query, Router, Status

from integrations.api.authentication import ApiKeyAuth, ApiRequest
from integrations.api.discovery import ISSUER_AWAY, before_discovery
from integrations.api.openapi import refusals
from integrations.api.paging import Cursor, cut_page, decode_cursor, encode_cursor
from integrations.api.parameters import Force, ProviderId
from integrations.api.schemas.providers import ProviderChange, ProviderCreate, ProviderOut, ProviderPage
from integrations.api.targets import ProviderTarget, find_custom_provider, find_provider
from integrations.connections.revocation import delete_integration
from integrations.models import CustomProvider
from integrations.providers.base import ProviderSpec
from integrations.providers.custom import (
    create_custom_provider,
    delete_custom_provider,
    publish,
    update_custom_provider,
)
from integrations.providers.definition import definition_of
from integrations.providers.discovery import complete
from integrations.providers.registry import find_newest_spec, specs_for
from workspaces.roles import KeyScope

router = Router()
READ, WRITE = KeyScope.INTEGRATIONS_READ, KeyScope.INTEGRATIONS_WRITE
# The whole catalogue fits on one page: programs look providers up by id, and there is nothing to page through.
MOST_PROVIDERS = 500
ProviderLimit = Annotated[
    int, Query(ge=1, le=MOST_PROVIDERS, description=f"Items per page, at most {MOST_PROVIDERS}, which is the default.")
]
BUILTIN = "The provider is built in."


def provider_out(spec: ProviderSpec) -> ProviderOut:
    """A definition as the API says it; secret values stay empty."""
    return ProviderOut.model_validate({**definition_of(spec), "custom": spec.custom})


@router.get(
    "/providers",
    auth=ApiKeyAuth(READ),
    response=ProviderPage,
    operation_id="list_providers",
    summary="List providers",
)
def list_providers(
    request: ApiRequest[None], cursor: Cursor = "", limit: ProviderLimit = MOST_PROVIDERS
) -> ProviderPage:
    """Built-in providers and the workspace's own, by id, with the definition that counts."""
    after = decode_cursor(cursor, str)
    specs = sorted(specs_for(request.auth.workspace), key=lambda spec: spec.provider_id)
    rest = [spec for spec in specs if after is None or spec.provider_id > after[0]]
    page, following = cut_page(rest, limit, lambda spec: encode_cursor(spec.provider_id))
    return ProviderPage(items=[provider_out(spec) for spec in page], next=following)


@router.post(
    "/providers",
    auth=ApiKeyAuth(WRITE),
    response={201: ProviderOut},
    operation_id="create_provider",
    summary="Create a custom provider",
    openapi_extra=refusals(temporarily_unavailable=ISSUER_AWAY),
)
def create_provider(request: ApiRequest[None], body: ProviderCreate) -> Status[ProviderOut]:
    """Define an authorization server of your own. It is published at once unless `draft` is true.

    With an `issuer` and no token endpoint, the endpoints, grant types and client authentication that the issuer
    publishes are filled in. Endpoints elsewhere than on its host or below are refused unless they are confirmed.
    """
    caller = request.auth
    definition = body.definition()
    if body.discovers:
        before_discovery(caller)
        definition = complete(definition, confirm_foreign=body.confirm_foreign_endpoints)
    custom = create_custom_provider(
        caller.workspace,
        definition,
        actor=caller.actor,
        created_by=caller.api_key.created_by,
        draft=bool(body.draft),
    )
    return Status(201, _newest(custom))


@router.get(
    "/providers/{provider_id}",
    auth=ApiKeyAuth(READ, find_provider),
    response=ProviderOut,
    operation_id="get_provider",
    summary="Read a provider",
)
def get_provider(request: ApiRequest[ProviderTarget], provider_id: ProviderId) -> ProviderOut:
    """Its definition; of a custom provider the newest, drafts included."""
    return provider_out(request.auth.target.spec)


@router.patch(
    "/providers/{provider_id}",
    auth=ApiKeyAuth(WRITE, find_custom_provider),
    response=ProviderOut,
    operation_id="change_provider",
    summary="Change a custom provider",
    openapi_extra=refusals(builtin_provider=BUILTIN),
)
def change_provider(request: ApiRequest[CustomProvider], provider_id: ProviderId, body: ProviderChange) -> ProviderOut:
    """Make a new version of the definition from what is sent; what is absent stays.

    Moving an endpoint that receives secrets to another origin clears the client secret and asks for a new consent.
    """
    custom = request.auth.target
    update_custom_provider(
        custom,
        body.definition(),
        actor=request.auth.actor,
        created_by=request.auth.api_key.created_by,
        draft=bool(body.draft),
    )
    return _newest(custom)


@router.post(
    "/providers/{provider_id}/publish",
    auth=ApiKeyAuth(WRITE, find_custom_provider),
    response=ProviderOut,
    operation_id="publish_provider",
    summary="Publish a draft",
    openapi_extra=refusals(builtin_provider=BUILTIN),
)
def publish_provider(request: ApiRequest[CustomProvider], provider_id: ProviderId) -> ProviderOut:
    """Make the newest definition the one that connections follow. One that is published already stays as it is."""
    publish(request.auth.target, actor=request.auth.actor)
    return _newest(request.auth.target)


@router.delete(
    "/providers/{provider_id}",
    auth=ApiKeyAuth(WRITE, find_custom_provider, calls_provider=True),
    response={204: None},
    operation_id="delete_provider",
    summary="Delete a custom provider",
    openapi_extra=refusals(builtin_provider=BUILTIN, has_dependants="Integrations use it."),
)
def delete_provider(request: ApiRequest[CustomProvider], provider_id: ProviderId, force: Force = False) -> Status[None]:
    """Delete it with its versions. With `force` its integrations go too; their tokens are revoked first."""
    caller = request.auth
    delete_custom_provider(caller.target, actor=caller.actor, force=force, delete_integration=delete_integration)
    return Status(204, None)


def _newest(custom: CustomProvider) -> ProviderOut:
    return provider_out(find_newest_spec(custom.workspace, custom.provider_id))
