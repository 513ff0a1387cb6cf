"""The sandbox's people and clients, made or brought up to date at each start."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth import get_user_model
from django.utils import timezone
from oauth2_provider.models import clear_expired, get_application_model

from config.sandbox.models import Note

# Shown on the login page: this server holds nothing but its own demonstration data.
PASSWORD = "sandbox"  # noqa: S105 (shown on the login page)
PEOPLE = {"alex@sandbox.example": ("Alex", "Sandbox"), "sam@sandbox.example": ("Sam", "Sandbox")}


def seed() -> None:
    """Make people, notes and both clients; forget tokens that ran out long ago."""
    for email, (first_name, last_name) in PEOPLE.items():
        _make_person(email, first_name, last_name)
    _make_client(
        "Grantry",
        *settings.AUTHORIZATION_CODE_CLIENT,
        grant_type="authorization-code",
        redirect_uris=" ".join(settings.REDIRECT_URIS),
    )
    _make_client("Grantry (service account)", *settings.CLIENT_CREDENTIALS_CLIENT, grant_type="client-credentials")
    clear_expired()


def _make_person(email: str, first_name: str, last_name: str) -> None:
    person, created = get_user_model().objects.get_or_create(
        username=email, defaults={"email": email, "first_name": first_name, "last_name": last_name}
    )
    if created:
        person.set_password(PASSWORD)
        person.save(update_fields=["password"])
        Note.objects.create(person=person, text=f"{first_name}'s first note", created_at=timezone.now())


def _make_client(name: str, client_id: str, secret: str, *, grant_type: str, redirect_uris: str = "") -> None:
    get_application_model().objects.update_or_create(
        client_id=client_id,
        defaults={
            "name": name,
            "client_secret": secret,
            # Generated and 256 bits long: a slow hash would only make each token request half a second slower.
            "hash_client_secret": False,
            "client_type": "confidential",
            "authorization_grant_type": grant_type,
            "redirect_uris": redirect_uris,
        },
    )
