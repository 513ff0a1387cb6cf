"""Making a workspace and changing its settings."""

from __future__ import annotations

from collections.abc import Sequence

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
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
# Bounds of the token policy, in seconds.
MIN_MAX_AGE, MAX_MAX_AGE = 5 * 60, 365 * 86_400
MIN_MARGIN, MAX_MARGIN = 60, 86_400


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


def check_token_policy(max_age_seconds: int | None, margin_seconds: int | None) -> None:
    """Refuse a policy that cannot work. Raises ValidationError with what is wrong, by field."""
    errors = {}
    if max_age_seconds is not None and not MIN_MAX_AGE <= max_age_seconds <= MAX_MAX_AGE:
        errors["max_age"] = "Choose from 5 minutes to 525,600 (a year), or leave it blank."
    if margin_seconds is not None and not MIN_MARGIN <= margin_seconds <= MAX_MARGIN:
        errors["margin"] = "Choose from 1 minute to 1,440 (a day), or leave it blank."
    if not errors and max_age_seconds and margin_seconds and margin_seconds * 2 > max_age_seconds:
        errors["margin"] = "Choose at most half of the maximum lifetime."
    if errors:
        raise ValidationError(errors)


def change_token_policy(
    workspace: Workspace, *, max_age_seconds: int | None, margin_seconds: int | None, actor: Actor
) -> Workspace:
    """Change how old an access token may be when it is handed out, and how long before its end it is renewed.

    None: as the provider says. The age counts at once, wherever a token is read; schedules are made anew by a worker.
    Raises ValidationError, by field.
    """
    check_token_policy(max_age_seconds, margin_seconds)
    after = {"max_token_age_seconds": max_age_seconds, "refresh_margin_seconds": margin_seconds}
    with transaction.atomic():
        current = Workspace.objects.select_for_update().get(pk=workspace.pk)
        before = {field: getattr(current, field) for field in after}
        changed = [field for field in after if before[field] != after[field]]
        if changed:
            Workspace.objects.filter(pk=current.pk).update(**after, schedule_stale_since=Now())
            current.refresh_from_db()
            detail = {field: after[field] for field in changed}
            detail |= {f"{field}_before": before[field] for field in changed}
            record(current, AuditAction.WORKSPACE_CHANGED, actor, target=current, detail=detail)
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
