"""Signed JWTs instead of a shared secret: signing keys, and the client's assertion (RFC 7523 §2.2, §3; OpenID Connect
Core §9).

`sign_jwt` is for every JWT that we sign, whoever it is addressed to.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from integrations.oauth.errors import ConfigurationRefused

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# Some servers refuse more than five minutes, by their own clock; much less, and a clock that is slow would not do.
ASSERTION_LIFETIME = timedelta(minutes=2)
RSA_BITS = 2048
_CURVE = "P-256"


class SigningAlgorithm(StrEnum):
    """What servers commonly verify (RFC 7518 §3.1)."""

    RS256 = "RS256"
    ES256 = "ES256"


@dataclass(frozen=True)
class SigningKey:
    """A private key (PEM) and how it signs. Its repr does not show it."""

    kid: str
    algorithm: SigningAlgorithm
    private_key: str = field(repr=False)


def generate_signing_key(algorithm: SigningAlgorithm) -> SigningKey:
    """Make a new key. Its id is its thumbprint (RFC 7638), so no two keys ever share one."""
    key = ECKey.generate_key(_CURVE) if algorithm is SigningAlgorithm.ES256 else RSAKey.generate_key(RSA_BITS)
    return SigningKey(key.thumbprint(), algorithm, key.as_pem(private=True).decode("ascii"))


def public_jwk(key: SigningKey) -> dict[str, str]:
    """The public half as a JSON Web Key (RFC 7517 §4)."""
    members = _opened(key).as_dict(private=False)
    return {
        **{name: str(value) for name, value in members.items()},
        "kid": key.kid,
        "use": "sig",
        "alg": key.algorithm.value,
    }


def public_pem(jwk: Mapping[str, str]) -> str:
    """A public JWK as PEM, for providers that want it pasted so."""
    kind = ECKey if jwk["kty"] == "EC" else RSAKey
    return kind.import_key(dict(jwk)).as_pem(private=False).decode("ascii").strip()


def sign_jwt(key: SigningKey, claims: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> str:
    """Sign claims (RFC 7519); `alg`, `kid` and `typ` are set, `headers` adds others.

    Raises ConfigurationRefused when the key cannot sign with its algorithm.
    """
    header = {**(headers or {}), "alg": key.algorithm.value, "kid": key.kid, "typ": "JWT"}
    try:
        return jwt.encode(header, dict(claims), _opened(key), algorithms=[key.algorithm.value])
    except (JoseError, ValueError, TypeError):
        # Not chained: these may quote what they could not read.
        raise ConfigurationRefused("unusable_signing_key") from None


def client_assertion(key: SigningKey, *, client_id: str, audience: str, now: datetime) -> str:
    """Make an assertion that authenticates the client once, to this audience, within minutes (RFC 7523 §3)."""
    issued_at = int(now.timestamp())
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "jti": secrets.token_urlsafe(24),
        "iat": issued_at,
        "exp": issued_at + int(ASSERTION_LIFETIME.total_seconds()),
    }
    return sign_jwt(key, claims)


def _opened(key: SigningKey) -> RSAKey | ECKey:
    """The key as joserfc has it.

    Checking anew that its primes are primes would take 35 ms of each signature: a key is checked when it is made.
    """
    private = load_pem_private_key(key.private_key.encode(), None, unsafe_skip_rsa_key_validation=True)
    if key.algorithm is SigningAlgorithm.RS256 and isinstance(private, RSAPrivateKey):
        return RSAKey(private, private)
    if key.algorithm is SigningAlgorithm.ES256 and isinstance(private, EllipticCurvePrivateKey):
        return ECKey(private, private)
    raise ValueError(f"This is no key for {key.algorithm}.")
