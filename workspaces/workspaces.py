"""Making a workspace and changing its settings."""

from __future__ import annotations

from collections.abc import Sequence

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.utils.text import slugify

from workspaces.addresses import find_user, mark_verified, normalize_email
from workspaces.audit import Actor, AuditAction, record
from workspaces.errors import SlugTaken
from workspaces.models import Membership, User, Workspace
from workspaces.models.workspace import validate_slug
from workspaces.redirect_hosts import CANNOT_BE_USED, clean_redirect_host, is_taken
from workspaces.return_urls import clean_return_urls
from workspaces.roles import Role

SLUG_LENGTH = 50


def create_workspace(
    name: str, *, owner_email: str, slug: str = "", password: str | None = None, actor: Actor
) -> tuple[Workspace, User]:
    """Make a workspace and its first owner, whose address counts as verified.

    A person who exists keeps their password and, if they are a member already, gains nothing twice. A new one
    without a password sets it by password reset. Raises ValidationError on a bad name, address or slug, SlugTaken.
    """
    name, owner_email = " ".join(name.split()), normalize_email(owner_email)
    if not name or len(name) > 100:
        raise ValidationError("A workspace needs a name of at most 100 characters.")
    validate_email(owner_email)
    with transaction.atomic():
        workspace = Workspace.objects.create(name=name, slug=_choose_slug(name, slug))
        owner = find_user(owner_email) or User.objects.create_user(owner_email, password)
        mark_verified(owner, owner_email)
        Membership.objects.create(workspace=workspace, user=owner, role=Role.OWNER)
        record(workspace, AuditAction.WORKSPACE_CREATED, actor, target=workspace, detail={"owner": owner.email})
    return workspace, owner


def change_settings(workspace: Workspace, *, name: str, return_urls: Sequence[str], actor: Actor) -> Workspace:
    """Change the name and the URLs that connect links may return to. Raises ValidationError on a bad URL."""
    after = {"name": " ".join(name.split()), "return_urls": clean_return_urls(return_urls)}
    with transaction.atomic():
        current = Workspace.objects.select_for_update().get(pk=workspace.pk)
        changed = [field for field, value in after.items() if getattr(current, field) != value]
        if changed:
            for field in changed:
                setattr(current, field, after[field])
            current.save(update_fields=changed)
            record(
                current,
                AuditAction.WORKSPACE_CHANGED,
                actor,
                target=current,
                detail={field: after[field] for field in changed},
            )
    return current


def check_redirect_host(workspace: Workspace, host: str) -> str:
    """The origin that the workspace may use. Raises ValidationError with what is wrong and what to do."""
    origin = clean_redirect_host(host)
    if is_taken(origin, by_others_than=workspace):
        raise ValidationError(CANNOT_BE_USED)
    return origin


def change_redirect_host(workspace: Workspace, host: str, *, actor: Actor) -> Workspace:
    """Use a redirect host of the workspace's own, or with "" PUBLIC_BASE_URL's again. Raises ValidationError.

    The redirect URI changes with it: it has to be registered at every provider, and flows under way end, because what
    they sent is no longer what the workspace uses.
    """
    after = check_redirect_host(workspace, host) if host else ""
    try:
        with transaction.atomic():
            current = Workspace.objects.select_for_update().get(pk=workspace.pk)
            before = current.redirect_host
            if after != before:
                current.redirect_host = after
                current.save(update_fields=["redirect_host"])
                detail = {"redirect_host": after, "redirect_host_before": before}
                record(current, AuditAction.WORKSPACE_CHANGED, actor, target=current, detail=detail)
    except IntegrityError as error:  # another workspace was quicker
        raise ValidationError(CANNOT_BE_USED) from error
    return current


def _choose_slug(name: str, wanted: str) -> str:
    if wanted:
        validate_slug(wanted)
        if Workspace.objects.filter(slug=wanted).exists():
            raise SlugTaken(wanted)
        return wanted
    base = slugify(name).replace("_", "-").strip("-")[:SLUG_LENGTH].strip("-") or "workspace"
    taken = set(Workspace.objects.filter(slug__startswith=base[: SLUG_LENGTH - 6]).values_list("slug", flat=True))
    slug, number = base, 2
    while slug in taken:  # ends: `taken` is finite and each turn tries another slug
        suffix = f"-{number}"
        slug, number = base[: SLUG_LENGTH - len(suffix)].strip("-") + suffix, number + 1
    return slug
