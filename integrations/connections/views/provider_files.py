"""Definitions as YAML: download, import with a look at what it makes, a copy of a built-in provider."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from integrations.connections.views.header import actor_of
from integrations.connections.views.provider_edit import cost_of_saving, detail_url, edit_url, find_custom
from integrations.connections.views.provider_preview import preview_context
from integrations.models import CustomProvider
from integrations.providers.base import ProviderSpec
from integrations.providers.custom import custom_provider_id, drafted
from integrations.providers.definition import InvalidDefinition, read_definition
from integrations.providers.definition_files import (
    DefinitionFile,
    UnreadableYAML,
    changes_from,
    export_definition,
    import_definition,
    provider_named_in,
    read_definition_file,
)
from integrations.providers.endpoint_change import MovingCost
from integrations.providers.registry import ProviderNotFound, find_newest_spec
from integrations.providers.strict_yaml import MAX_BYTES
from integrations.providers.versions import FieldChange, changes_between, label_of
from workspaces.access import workspace_view
from workspaces.http import WorkspaceRequest
from workspaces.roles import Permission

UNPROCESSABLE = 422
MAX_REQUEST = 3 * MAX_BYTES  # a text may be percent-encoded
YAML = "application/yaml"


@require_safe
@never_cache
@workspace_view(Permission.WORKSPACE_VIEW)
def custom_export(request: WorkspaceRequest, provider_id: str) -> HttpResponse:
    """The newest definition as a file; it holds no secret."""
    provider = find_custom(request, provider_id)
    text = export_definition(find_newest_spec(request.workspace, provider.provider_id))
    headers = {"Content-Disposition": f'attachment; filename="{provider.provider_id}.yaml"'}
    return HttpResponse(text, content_type=f"{YAML}; charset=utf-8", headers=headers)


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with a file: where, and what to do."""

    sentence: str
    line: int = 0
    label: str = ""


@dataclass(slots=True)
class Import:
    """A file that somebody wants to import, and what became of reading it."""

    text: str = ""
    complaints: list[Complaint] = field(default_factory=list)
    file: DefinitionFile | None = None
    spec: ProviderSpec | None = None
    over: CustomProvider | None = None  # the provider that it would change
    taken: CustomProvider | None = None  # the provider whose id it names, to be changed or not
    cost: MovingCost | None = None
    changes: tuple[FieldChange, ...] = ()


class DefinitionUpload(MemoryFileUploadHandler):
    """Keeps a file in memory up to this page's limit; a larger one is dropped."""

    def handle_raw_input(
        self, input_data: Any, META: Any, content_length: int, boundary: Any, encoding: Any = None
    ) -> None:
        """Called before the body is read."""
        del input_data, META, boundary, encoding
        self.activated = content_length <= MAX_REQUEST


@csrf_exempt  # `take_import` is protected: the token is read with the body, for which the handlers must be set before
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.PROVIDER_MANAGE)
def custom_import(request: WorkspaceRequest) -> HttpResponseBase:
    """Take larger files than other pages do: in memory, from admins of the workspace only."""
    request.upload_handlers = [DefinitionUpload(request)]
    return take_import(request)


@csrf_protect
@sensitive_post_parameters()
def take_import(request: WorkspaceRequest) -> HttpResponse:
    """Import a definition. `go`: look (what it makes), draft or publish. `?of=` and `?copy=` fill the text in."""
    if request.method != "POST":
        return import_page(request, Import(text=prefilled(request)))
    go = request.POST.get("go", "look")
    wanted = read_import(request, draft=go == "draft")
    if wanted.complaints or wanted.spec is None or wanted.file is None:
        return import_page(request, wanted, status=UNPROCESSABLE)
    if go not in ("draft", "publish") or (wanted.cost is not None and not request.POST.get("confirm_move")):
        return import_page(request, wanted)
    return save_import(request, wanted, wanted.file, draft=go == "draft")


def prefilled(request: WorkspaceRequest) -> str:
    """The definition that the address names. Raises Http404 for one that is not there."""
    provider_id = request.GET.get("of") or request.GET.get("copy") or ""
    if not provider_id:
        return ""
    try:
        spec = find_newest_spec(request.workspace, provider_id)
    except ProviderNotFound as error:
        raise Http404 from error
    text = export_definition(spec)
    if "copy" in request.GET and spec.custom:  # a copy gets an id of its own
        text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("provider_id:"))
    return text


def read_import(request: WorkspaceRequest, *, draft: bool) -> Import:
    """Read and judge what was pasted or uploaded, as it would be saved."""
    wanted = Import()
    try:
        wanted.text = _text_of(request)
        wanted.file = read_definition_file(wanted.text)
    except UnreadableYAML as error:
        wanted.complaints.append(Complaint(error.message, error.line))
        return wanted
    wanted.taken = provider_named_in(request.workspace, wanted.file)
    wanted.over = None if request.POST.get("as_new") else wanted.taken
    try:
        _judge(request, wanted, wanted.file, draft=draft)
    except InvalidDefinition as invalid:
        wanted.complaints += [
            Complaint(sentence, wanted.file.lines.get(name, 0), label_of(name))
            for name, sentences in invalid.errors.items()
            for sentence in sentences
        ]
    return wanted


def _text_of(request: WorkspaceRequest) -> str:
    upload = request.FILES.get("file")
    if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_REQUEST:  # a file beyond what memory takes is not there
        raise UnreadableYAML(f"At most {MAX_BYTES // 1024} KB fit here.")
    if upload is None:
        return str(request.POST.get("yaml", ""))
    raw = upload.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise UnreadableYAML(f"At most {MAX_BYTES // 1024} KB fit here.")
    try:
        return str(raw, "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableYAML("The file is not UTF-8 text. Save it as UTF-8.") from error


def _judge(request: WorkspaceRequest, wanted: Import, file: DefinitionFile, *, draft: bool) -> None:
    if wanted.over is not None:
        newest = find_newest_spec(request.workspace, wanted.over.provider_id)
        wanted.spec = drafted(wanted.over, changes_from(file.definition, newest))
        wanted.changes = changes_between(newest, wanted.spec)
        wanted.cost = cost_of_saving(wanted.over, wanted.spec, draft=draft)
        return
    spec = read_definition(file.definition, provider_id="", allowed_hosts=list(settings.OUTBOUND_ALLOWED_HOSTS))
    provider_id = custom_provider_id(request.workspace, spec.name, file.provider_id)
    wanted.spec = read_definition(
        file.definition, provider_id=provider_id, allowed_hosts=list(settings.OUTBOUND_ALLOWED_HOSTS)
    )


def save_import(request: WorkspaceRequest, wanted: Import, file: DefinitionFile, *, draft: bool) -> HttpResponse:
    """Make the provider, or a new version of the one that is there."""
    try:
        made, is_new = import_definition(
            request.workspace,
            file,
            actor=actor_of(request),
            created_by=request.user,
            draft=draft,
            as_new=wanted.over is None,
        )
    except InvalidDefinition as invalid:  # somebody else was quicker
        wanted.complaints += [Complaint(sentence) for found in invalid.errors.values() for sentence in found]
        return import_page(request, wanted, status=UNPROCESSABLE)
    spec = find_newest_spec(request.workspace, made.provider_id)
    if is_new:
        messages.success(request, f"The provider was added as {made.provider_id}.")
        return redirect(detail_url(request, spec))
    kind = "saved as a draft" if spec.draft else "published"
    messages.success(request, f"Version {spec.version} of {made.provider_id} is {kind}.")
    return redirect(edit_url(request, made.provider_id))


def import_page(request: WorkspaceRequest, wanted: Import, *, status: int = 200) -> HttpResponse:
    """The text, what is wrong with it, or what it makes."""
    context: dict[str, Any] = {
        "wanted": wanted,
        "copied": request.GET.get("copy", ""),
        "list_url": reverse("integrations:list", kwargs={"workspace": request.workspace.slug}),
        "max_kb": MAX_BYTES // 1024,
    }
    if wanted.spec is not None and not wanted.complaints:
        context |= preview_context(request.workspace, wanted.spec)
    return render(request, "integrations/custom_import.html", context, status=status)
