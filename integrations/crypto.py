"""Sealing: Fernet ciphertext bound to the row it was made for.

A sealed payload is Fernet(context, NUL, plaintext). The context names model, workspace, row and column, so that
ciphertext moved to any other place is refused when it is opened. Keys are `settings.FERNET_KEYS`; the first encrypts.
"""

from __future__ import annotations

import hmac
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class SealError(Exception):
    """Base of this module's errors. Messages never carry plaintext, ciphertext or keys."""


class Undecryptable(SealError):
    """No configured key opens the ciphertext."""


class WrongRow(SealError):
    """The ciphertext was sealed for another row or column."""


@lru_cache(maxsize=8)
def _fernet(keys: tuple[bytes, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def fernet() -> MultiFernet:
    """The configured keys; rebuilt when settings change (tests, rotation)."""
    return _fernet(tuple(settings.FERNET_KEYS))


def seal(plaintext: str, context: str) -> bytes:
    """Encrypt `plaintext` for the place named by `context`. Raises SealError when the context is unusable."""
    if not context or "\x00" in context:
        raise SealError("A sealed value needs a context without NUL.")
    return fernet().encrypt(context.encode() + b"\x00" + plaintext.encode("utf-8", "surrogatepass"))


def open_sealed(ciphertext: bytes, context: str) -> str:
    """Decrypt and check the place. Raises Undecryptable or WrongRow."""
    payload = _decrypt(ciphertext)
    found, separator, plaintext = payload.partition(b"\x00")
    if not separator or not hmac.compare_digest(found, context.encode()):
        raise WrongRow("This value was sealed for another row and is refused here.")
    return plaintext.decode("utf-8", "surrogatepass")


def is_under_first_key(ciphertext: bytes) -> bool:
    """Whether the key that encrypts today opens the ciphertext, so that a rotation has nothing to do."""
    try:
        _fernet((bytes(settings.FERNET_KEYS[0]),)).decrypt(bytes(ciphertext))
    except InvalidToken:
        return False
    return True


def reseal(ciphertext: bytes, context: str) -> bytes:
    """Encrypt anew under the first key, for the same place. Raises Undecryptable or WrongRow."""
    return seal(open_sealed(ciphertext, context), context)


def _decrypt(ciphertext: bytes) -> bytes:
    try:
        return fernet().decrypt(bytes(ciphertext))
    except InvalidToken as error:
        raise Undecryptable("No configured key opens this value. Was FERNET_KEYS changed?") from error
