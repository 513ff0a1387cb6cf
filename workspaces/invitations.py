"""Invitations: the only way to an account. The link is sent by e-mail; only its hash is kept."""

from __future__ import annotations

import hashlib
import logging
import secrets
from datetime import datetime, timedelta
from smtplib import SMTPException

from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from workspaces.addresses import find_user, mark_verified, normalize_email, owns_address
from workspaces.audit import Actor, AuditAction, record
from workspaces.errors import InvitationGone, InvitationRefused, MailNotSent, NotAllowed
from workspaces.http import public_url
from workspaces.members import roles_within_reach
from workspaces.models import Invitation, Membership, User, Workspace
from workspaces.roles import Role

logger = logging.getLogger(__name__)

INVITATION_LIFETIME = timedelta(days=7)
MAX_TOKEN_LENGTH = 100


def invite(
    workspace: Workspace, *, email: str, role: Role, by: Membership, actor: Actor, now: datetime | None = None
) -> Invitation:
    """Offer membership to an address for seven days, and send the link there.

    Raises NotAllowed (the role is beyond the inviter), InvitationRefused (bad address, a member already, an open
    invitation), MailNotSent (the invitation stands; resend it).
    """
    now, email = now or timezone.now(), normalize_email(email)
    _require_reach(by, role)
    _require_invitable(workspace, email)
    token, token_hash = _new_token()
    try:
        with transaction.atomic():
            workspace.invitations.filter(email=email, accepted_at=None, expires_at__lte=now).delete()
            invitation = Invitation.objects.create(
                workspace=workspace,
                email=email,
                role=role,
                token_hash=token_hash,
                invited_by=by.user,
                created_at=now,
                expires_at=now + INVITATION_LIFETIME,
            )
            record(
                workspace,
                AuditAction.MEMBER_INVITED,
                actor,
                target=invitation,
                target_label=email,
                detail={"role": role.value},
            )
    except IntegrityError as error:
        raise InvitationRefused("This address has an open invitation already. You can send it again.") from error
    _send(invitation, token)
    return invitation


def resend_invitation(
    invitation: Invitation, *, by: Membership, actor: Actor, now: datetime | None = None
) -> Invitation:
    """Send a new link, good for seven days; the old one stops working.

    Raises NotAllowed, InvitationGone (accepted meanwhile), MailNotSent.
    """
    now = now or timezone.now()
    _require_reach(by, Role(invitation.role))
    token, token_hash = _new_token()
    with transaction.atomic():
        changed = Invitation.objects.filter(pk=invitation.pk, accepted_at=None).update(
            token_hash=token_hash, expires_at=now + INVITATION_LIFETIME, invited_by=by.user
        )
        if not changed:
            raise InvitationGone
        record(
            invitation.workspace,
            AuditAction.MEMBER_INVITED,
            actor,
            target=invitation,
            target_label=invitation.email,
            detail={"role": invitation.role, "again": True},
        )
    invitation.refresh_from_db()
    _send(invitation, token)
    return invitation


def revoke_invitation(invitation: Invitation, *, by: Membership, actor: Actor) -> None:
    """Withdraw an open invitation; its link stops working. Raises NotAllowed, InvitationGone."""
    _require_reach(by, Role(invitation.role))
    with transaction.atomic():
        deleted, _per_model = Invitation.objects.filter(pk=invitation.pk, accepted_at=None).delete()
        if not deleted:
            raise InvitationGone
        record(
            invitation.workspace,
            AuditAction.MEMBER_INVITATION_REVOKED,
            actor,
            target_label=invitation.email,
            detail={"role": invitation.role},
        )


def find_invitation(token: str, now: datetime | None = None) -> Invitation:
    """The open invitation of a link. Raises InvitationGone, also when its inviter could no longer give that role."""
    if not token or len(token) > MAX_TOKEN_LENGTH:
        raise InvitationGone
    invitation = Invitation.objects.select_related("workspace", "invited_by").filter(token_hash=_hash(token)).first()
    if invitation is None or not invitation.is_open(now or timezone.now()) or not _is_backed(invitation):
        raise InvitationGone
    return invitation


def accept_invitation(invitation: Invitation, user: User, *, actor: Actor, now: datetime | None = None) -> Membership:
    """Join as a person who has an account with that address. A member already keeps the role they have.

    Raises NotAllowed (the address is not this person's), InvitationGone (used or revoked meanwhile).
    """
    if not owns_address(user, invitation.email):
        raise NotAllowed(f"This invitation is for {invitation.email}. Sign in with that address to accept it.")
    with transaction.atomic():
        _use_up(invitation, now or timezone.now())
        return _join(invitation, user, actor)


def accept_as_new_person(
    invitation: Invitation, *, name: str, password: str, now: datetime | None = None
) -> Membership:
    """Make the account and join. Whoever opened the link reads that mailbox, so the address counts as verified.

    The password must have passed the validators (the form does that). Raises InvitationGone, NotAllowed (an account
    with this address exists: its owner signs in instead).
    """
    with transaction.atomic():
        _use_up(invitation, now or timezone.now())
        if find_user(invitation.email) is not None:
            raise NotAllowed("There is an account with this address already. Sign in to accept the invitation.")
        user = User.objects.create_user(invitation.email, password, name=" ".join(name.split()))
        mark_verified(user, invitation.email)
        return _join(invitation, user, Actor.member(user))


def _join(invitation: Invitation, user: User, actor: Actor) -> Membership:
    membership, joined = Membership.objects.get_or_create(
        workspace=invitation.workspace, user=user, defaults={"role": invitation.role}
    )
    if joined:
        record(invitation.workspace, AuditAction.MEMBER_JOINED, actor, target=user, detail={"role": invitation.role})
    return membership


def _use_up(invitation: Invitation, now: datetime) -> None:
    """One conditional UPDATE: of two requests with one link, one wins. The hash guards against a resend between."""
    open_ones = Invitation.objects.filter(
        pk=invitation.pk, token_hash=invitation.token_hash, accepted_at=None, expires_at__gt=now
    )
    if not open_ones.update(accepted_at=now) or not _is_backed(invitation):
        raise InvitationGone


def _is_backed(invitation: Invitation) -> bool:
    """Whether the inviter is still a member who may give that role; an invitation never outlives their power."""
    inviter = invitation.workspace.memberships.filter(user=invitation.invited_by, user__is_active=True).first()
    return inviter is not None and Role(invitation.role) in roles_within_reach(inviter)


def _require_reach(by: Membership, role: Role) -> None:
    if role not in roles_within_reach(by):
        raise NotAllowed("Your role does not allow you to invite someone with this role.")


def _require_invitable(workspace: Workspace, email: str) -> None:
    try:
        validate_email(email)
    except ValidationError as error:
        raise InvitationRefused("Enter a valid e-mail address.") from error
    user = find_user(email)
    if user is not None and workspace.memberships.filter(user=user).exists():
        raise InvitationRefused("This person is a member already.")


def _new_token() -> tuple[str, str]:
    token = secrets.token_urlsafe(32)
    return token, _hash(token)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _send(invitation: Invitation, token: str) -> None:
    context = {
        "invitation": invitation,
        "inviter": invitation.invited_by.get_short_name() if invitation.invited_by else "",
        "url": public_url(reverse("workspaces:invitation_accept", kwargs={"token": token})),
        "days": INVITATION_LIFETIME.days,
    }
    # A workspace's name is somebody's text: line breaks must not become headers (EmailMessage refuses them too).
    subject = " ".join(render_to_string("workspaces/email/invitation_subject.txt", context).split())
    body = render_to_string("workspaces/email/invitation_message.txt", context)
    try:
        EmailMessage(subject, body, to=[invitation.email]).send()
    except (SMTPException, OSError) as error:
        logger.warning("The e-mail of invitation %s could not be sent: %s", invitation.pk, type(error).__name__)
        raise MailNotSent(invitation.email) from error
