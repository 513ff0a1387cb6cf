"""A service account's JSON key file, as Google hands it out: read strictly when it is saved; what is needed is kept."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from integrations.oauth.client_assertion import SigningAlgorithm, SigningKey

MAX_KEY_LENGTH = 16 * 1024
SMALLEST_KEY_BITS = 2048
KIND = "service_account"
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,200}@[A-Za-z0-9.-]{1,200}", re.ASCII)
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,200}", re.ASCII)
_NEW_KEY = "Make a new key of the type JSON for the service account and upload its file unchanged."


class KeyRefused(ValueError):
    """A key file cannot be used. `sentences` name each field that is wrong, and never what stands in it."""

    def __init__(self, *sentences: str) -> None:
        self.sentences = list(sentences)
        super().__init__(" ".join(sentences))


@dataclass(frozen=True, slots=True)
class ServiceAccountKey:
    """What of the file is needed. Its repr does not show the key."""

    client_email: str
    private_key_id: str
    private_key: str = field(repr=False)

    @property
    def signing_key(self) -> SigningKey:
        """For RS256."""
        return SigningKey(self.private_key_id, SigningAlgorithm.RS256, self.private_key)

    def to_json(self) -> str:
        """The text that is sealed."""
        return json.dumps(
            {
                "client_email": self.client_email,
                "private_key_id": self.private_key_id,
                "private_key": self.private_key,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> ServiceAccountKey:
        """Read what `to_json` wrote. Raises KeyRefused."""
        try:
            content = json.loads(text)
            return cls(content["client_email"], content["private_key_id"], content["private_key"])
        except (ValueError, KeyError, TypeError):
            raise KeyRefused(f"The stored key cannot be read. {_NEW_KEY}") from None


def read_key_file(text: str, *, token_endpoint: str) -> ServiceAccountKey:
    """Read a key file as it was uploaded or pasted. Raises KeyRefused with every mistake.

    `token_endpoint` is the provider's: a file that names another one is not taken for this provider's.
    """
    content = _object_in(text)
    if content.get("type") != KIND:
        raise KeyRefused(_wrong_kind(content))
    sentences = [sentence for problem in _PROBLEMS if (sentence := problem(content))]
    if content.get("token_uri") != token_endpoint:
        sentences.append(
            f"“token_uri” of the file is not {token_endpoint}, where this provider issues tokens. {_NEW_KEY}"
        )
    if sentences:
        raise KeyRefused(*sentences)
    return ServiceAccountKey(content["client_email"], content["private_key_id"], content["private_key"])


def _object_in(text: str) -> Mapping[str, Any]:
    if len(text.encode("utf-8", "replace")) > MAX_KEY_LENGTH:
        raise KeyRefused(f"A key file has at most {MAX_KEY_LENGTH // 1024} KB. Choose the file that was downloaded.")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        # Not chained: the error quotes the text.
        raise KeyRefused(f"This is not JSON. {_NEW_KEY}") from None
    if not isinstance(content, dict):
        raise KeyRefused(f"This is not a key file: it is JSON without fields. {_NEW_KEY}")
    return content


def _wrong_kind(content: Mapping[str, Any]) -> str:
    if "web" in content or "installed" in content:
        return f"This file is of an OAuth client, which is for people. {_NEW_KEY}"
    return f"“type” of the file is not “{KIND}”. {_NEW_KEY}"


def _email_problem(content: Mapping[str, Any]) -> str:
    email = content.get("client_email")
    if not email:
        return f"“client_email” is missing in the file. {_NEW_KEY}"
    if not isinstance(email, str) or not _EMAIL.fullmatch(email):
        return f"“client_email” of the file is not an e-mail address. {_NEW_KEY}"
    return ""


def _key_id_problem(content: Mapping[str, Any]) -> str:
    key_id = content.get("private_key_id")
    if not key_id:
        return f"“private_key_id” is missing in the file. {_NEW_KEY}"
    if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):
        return f"“private_key_id” of the file is not the id of a key. {_NEW_KEY}"
    return ""


def _private_key_problem(content: Mapping[str, Any]) -> str:
    pem = content.get("private_key")
    if not pem:
        return f"“private_key” is missing in the file. {_NEW_KEY}"
    unreadable = f"“private_key” of the file cannot be read as a private key. {_NEW_KEY}"
    if not isinstance(pem, str) or not pem.isascii():
        return unreadable
    try:
        key = load_pem_private_key(pem.encode("ascii"), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return unreadable
    if not isinstance(key, RSAPrivateKey) or key.key_size < SMALLEST_KEY_BITS:
        return f"“private_key” of the file is not an RSA key of at least {SMALLEST_KEY_BITS} bits. {_NEW_KEY}"
    return ""


_PROBLEMS = (_email_problem, _key_id_problem, _private_key_problem)
