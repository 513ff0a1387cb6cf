"""Accounts, as django-allauth sees them: nobody signs up; addresses in e-mails are the installation's own."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest

from workspaces.http import public_url
from workspaces.middleware import client_address


class PublicSite:
    """What allauth's e-mails call us."""

    name = "Grantry"

    @property
    def domain(self) -> str:
        """The host that people know."""
        return urlsplit(public_url("/")).netloc


class InvitationOnlyAdapter(DefaultAccountAdapter):  # type: ignore[misc] # allauth has no types
    """Closes sign-up for good: a person gets an account by an invitation (`invitations.accept_invitation`), and the
    first owner by `manage.py create_workspace`.
    """

    def is_open_for_signup(self, request: HttpRequest) -> bool:  # noqa: ARG002 (allauth's signature)
        """No. Invited people set their name and password on the invitation's own page."""
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        """The address that login limits count by; ours, since allauth's fails on too few forwarded hops."""
        return client_address(request) or "unknown"

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Send an e-mail that names this installation, not the host of the request (host header poisoning)."""
        super().send_mail(template_prefix, email, {**context, "current_site": PublicSite()})

    def get_reset_password_from_key_url(self, key: str) -> str:
        """The link in the e-mail, on PUBLIC_BASE_URL whatever host the request named (host header poisoning)."""
        return _on_public_host(super().get_reset_password_from_key_url(key))

    def get_email_confirmation_url(self, request: HttpRequest, emailconfirmation: Any) -> str:
        """The link in the e-mail, on PUBLIC_BASE_URL whatever host the request named."""
        return _on_public_host(super().get_email_confirmation_url(request, emailconfirmation))


def _on_public_host(url: str) -> str:
    parts = urlsplit(url)
    return public_url(parts.path + (f"?{parts.query}" if parts.query else ""))
