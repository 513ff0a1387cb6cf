"""Second factors at rest: allauth stores the secrets of TOTP and recovery codes as they are, unless we seal them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.db import transaction

from integrations import crypto

# allauth does not say whose secret it is, so that it can only be bound to its purpose.
CONTEXT = "second-factor"
_SECRETS = ("secret", "seed")  # of TOTP, of recovery codes; WebAuthn stores public keys only


class SealingAdapter(DefaultMFAAdapter):  # type: ignore[misc] # allauth has no types
    """Seals what allauth would store in the clear."""

    def encrypt(self, text: str) -> str:
        """Ciphertext for the database."""
        return crypto.seal(text, CONTEXT).decode("ascii")

    def decrypt(self, encrypted_text: str) -> str:
        """The secret. Raises crypto.SealError when no configured key opens it."""
        return crypto.open_sealed(encrypted_text.encode(), CONTEXT)


def reseal_each(reseal: Callable[[bytes, str], bytes | None]) -> None:
    """Hand each ciphertext and its context to `reseal`, and store what comes back, if anything (key rotation)."""
    for pk in Authenticator.objects.order_by("pk").values_list("pk", flat=True):
        with transaction.atomic():
            row = Authenticator.objects.select_for_update().filter(pk=pk).first()
            if row is not None and (changed := _resealed(row.data, reseal)):
                row.data = {**row.data, **changed}
                row.save(update_fields=["data"])


def _resealed(data: dict[str, Any], reseal: Callable[[bytes, str], bytes | None]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _SECRETS:
        if isinstance(data.get(name), str) and (new := reseal(data[name].encode(), CONTEXT)) is not None:
            found[name] = new.decode("ascii")
    return found
