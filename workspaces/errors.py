"""What a verb of this app may refuse. Callers look at the type; `str(error)` is for people.

WorkspaceError
├── NotAllowed          the acting person's role does not reach that far
├── LastOwner           a workspace keeps at least one owner
├── SlugTaken           another workspace has this address
├── InvitationRefused   the invitation cannot be made
├── InvitationGone      accepted, revoked, expired, or never existed
├── MailNotSent         the invitation stands, its e-mail did not leave
├── KeyRefused          the API key cannot be made
├── KeyNotUsable        a revoked or expired key cannot be rolled
└── RateLimited         too many tries; `retry_after` seconds
"""

from __future__ import annotations


class WorkspaceError(Exception):
    """Base of the refusals; its text says what happened and what to do."""


class NotAllowed(WorkspaceError):
    """The acting person's role does not reach that far."""


class LastOwner(WorkspaceError):
    """The change would leave a workspace without an owner."""

    def __init__(self) -> None:
        super().__init__("A workspace needs an owner. Make someone else an owner first.")


class SlugTaken(WorkspaceError):
    """Another workspace has this address."""

    def __init__(self, slug: str) -> None:
        super().__init__(f"The address “{slug}” belongs to another workspace. Choose another one.")


class InvitationRefused(WorkspaceError):
    """The invitation cannot be made."""


class InvitationGone(WorkspaceError):
    """The invitation was accepted, revoked, has expired, or never existed: the same words for all of them."""

    def __init__(self) -> None:
        super().__init__("This invitation is no longer valid. Ask the person who invited you for a new one.")


class MailNotSent(WorkspaceError):
    """The invitation stands, but its e-mail could not be sent."""

    def __init__(self, email: str) -> None:
        super().__init__(
            f"The invitation for {email} is saved, but the e-mail could not be sent. "
            "Send it again in a moment, or ask the people who run this server to check their mail settings."
        )


class KeyRefused(WorkspaceError):
    """The API key cannot be made."""


class KeyNotUsable(WorkspaceError):
    """A revoked or expired key cannot be rolled."""

    def __init__(self) -> None:
        super().__init__("This key is revoked or has expired. Create a new one instead.")


class RateLimited(WorkspaceError):
    """Too many tries; the next one is taken after `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(f"Too many tries. Wait {retry_after} seconds and try again.")
