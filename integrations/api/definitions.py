"""Definitions of providers as YAML files, and the dry-run inspector."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Query, Router, Status
from pydantic import ValidationError

from integrations.api.authentication import ApiKeyAuth, ApiRequest
from integrations.api.bodies import StrictParser, UnusableBody
from integrations.api.parameters import ProviderId
from integrations.api.problems import FieldError, Problem
from integrations.api.providers import provider_out
from integrations.api.schemas.definitions import ImportIn, InspectIn, InspectOut, PreviewOut, ReadingOut
from integrations.api.schemas.providers import ProviderOut
from integrations.api.targets import ProviderTarget, find_provider
from integrations.api.validation import field_errors
from integrations.connections.inspector import purposes, read_answer
from integrations.providers.base import ProviderSpec
from integrations.providers.definition_files import export_definition, import_definition, read_definition_file
from integrations.providers.preview import preview
from integrations.providers.registry import find_newest_spec
from integrations.providers.setup import redirect_uri
from workspaces.models import Workspace
from workspaces.roles import KeyScope

router = Router()
READ, WRITE = KeyScope.INTEGRATIONS_READ, KeyScope.INTEGRATIONS_WRITE
YAML = "application/yaml"
YAML_TYPES = (YAML, "application/x-yaml", "text/yaml", "text/x-yaml")
YAML_TEXT = {"schema": {"type": "string"}, "example": "grantry_provider: 1\nname: Example ID\n"}


@router.get(
    "/providers/{provider_id}/export",
    auth=ApiKeyAuth(READ, find_provider),
    operation_id="export_provider",
    summary="Export a provider as YAML",
    openapi_extra={"responses": {200: {"description": "The definition.", "content": {YAML: YAML_TEXT}}}},
)
def get_export(request: ApiRequest[ProviderTarget], provider_id: ProviderId) -> HttpResponse:
    """The newest definition as a file, without secrets; of a built-in provider what a copy begins with."""
    return HttpResponse(export_definition(request.auth.target.spec), content_type=f"{YAML}; charset=utf-8")


@router.post(
    "/providers/import",
    auth=ApiKeyAuth(WRITE),
    response={200: ProviderOut, 201: ProviderOut},
    operation_id="import_provider",
    summary="Import a provider from YAML",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                YAML: YAML_TEXT,
                "application/json": {"schema": ImportIn.model_json_schema(ref_template="#/components/schemas/{model}")},
            },
        }
    },
)
def post_import(
    request: ApiRequest[None],
    draft: Annotated[bool, Query(description="Keep it aside until it is published.")] = False,
) -> Status[ProviderOut]:
    """Make a provider of a file: 201. The id of one of the workspace's own gives that a new version: 200.

    Send the YAML itself, or JSON with it as `yaml`. What the file leaves out is at its default.
    """
    caller, (text, wants_draft) = request.auth, _file_in(request)
    provider, is_new = import_definition(
        caller.workspace,
        read_definition_file(text),
        actor=caller.actor,
        created_by=caller.api_key.created_by,
        draft=draft or wants_draft,
    )
    spec = find_newest_spec(caller.workspace, provider.provider_id)
    return Status(201 if is_new else 200, provider_out(spec))


def _file_in(request: HttpRequest) -> tuple[str, bool]:
    """The YAML of the body, and whether its JSON asks for a draft. Raises Problem."""
    if (request.content_type or "").lower() in YAML_TYPES:
        try:
            return request.body.decode("utf-8"), False
        except UnicodeDecodeError as error:
            words = "The body is not UTF-8 text."
            raise Problem("invalid_request", words, errors=[FieldError("yaml", words)]) from error
    try:
        body = ImportIn.model_validate(StrictParser().parse_body(request))
    except UnusableBody as error:
        raise error.problem from error
    except ValidationError as error:
        found = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_input=False)]
        raise Problem("invalid_request", errors=field_errors(found)) from error
    return body.yaml, body.draft


@router.post(
    "/providers/{provider_id}/inspect",
    auth=ApiKeyAuth(READ, find_provider),
    response=InspectOut,
    operation_id="inspect_provider",
    summary="Inspect requests and answers",
)
def post_inspect(request: ApiRequest[ProviderTarget], provider_id: ProviderId, body: InspectIn) -> InspectOut:
    """The exact requests, secrets blotted out, and how a token answer would be read. Nothing is sent or stored."""
    spec, workspace = request.auth.target.spec, request.auth.workspace
    if body.grant_type not in purposes(spec):
        words = f"{spec.name} makes no such token request. Send one of: {', '.join(purposes(spec))}."
        raise Problem("invalid_request", errors=[FieldError("grant_type", words)])
    reading = None
    if body.body is not None:
        reading = read_answer(
            spec,
            body.grant_type,
            status=body.status,
            content_type=body.content_type,
            body=body.body,
            now=timezone.now(),
        )
    return InspectOut(
        previews=_previews(workspace, spec, body.parameters),
        reading=ReadingOut.model_validate(asdict(reading)) if reading else None,
    )


def _previews(workspace: Workspace, spec: ProviderSpec, values: dict[str, str]) -> list[PreviewOut]:
    uri = redirect_uri(workspace)
    found = [preview(spec, one, client_id="", redirect_uri=uri, values=values) for one in spec.grant_types]
    return [PreviewOut.model_validate(_shape(one)) for one in found]


def _shape(one: Any) -> dict[str, Any]:
    requests = [
        {
            "title": sent.title,
            "method": sent.method,
            "url": sent.url,
            "fields": [{"name": name, "value": value} for name, _, value in sent.lines],
        }
        for sent in one.requests
    ]
    return {"grant_type": one.grant_type, "problem": one.problem, "expression": one.expression, "requests": requests}
