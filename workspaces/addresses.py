"""E-mail addresses: who owns one, and the ones that count as verified without a mail of ours."""

from __future__ import annotations

from allauth.account.models import EmailAddress

from workspaces.models import User


def normalize_email(email: str) -> str:
    """The form in which addresses are stored and compared."""
    return email.strip().lower()


def find_user(email: str) -> User | None:
    """The person whose sign-in address this is, or who has verified it as another address of theirs."""
    email = normalize_email(email)
    found = User.objects.filter(email=email).first()
    if found is not None:
        return found
    address = EmailAddress.objects.select_related("user").filter(email__iexact=email, verified=True).first()
    return address.user if address is not None else None


def owns_address(user: User, email: str) -> bool:
    """Whether a person has proved that the address is theirs."""
    return bool(EmailAddress.objects.filter(user=user, email__iexact=email, verified=True).exists())


def mark_verified(user: User, email: str) -> None:
    """Count the address as verified: an operator vouched for it, or a link sent to it was opened.

    Without this allauth refuses sign-in until a mail is confirmed.
    """
    email = normalize_email(email)
    has_primary = EmailAddress.objects.filter(user=user, primary=True).exists()
    address, _created = EmailAddress.objects.get_or_create(
        user=user, email=email, defaults={"verified": True, "primary": not has_primary}
    )
    if not address.verified:
        address.verified = True
        address.save(update_fields=["verified"])
