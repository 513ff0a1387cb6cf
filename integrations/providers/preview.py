"""The exact requests that a definition leads to, with everything secret or random blotted out.

They are built by the code that builds the real ones; a recorder stands in for the HTTP session and sends nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, cast
from urllib.parse import parse_qsl, urlsplit

from integrations.models import GrantType
from integrations.oauth.client import AuthorizationServer, ClientAuthMethod, OAuthClient
from integrations.oauth.client_assertion import SigningAlgorithm, SigningKey, generate_signing_key
from integrations.oauth.errors import OAuthError
from integrations.oauth.grants import authorization_url, exchange_code, fetch_token
from integrations.providers.base import ProviderSpec
from integrations.providers.oauth_provider import provider_for
from integrations.providers.rendering import ParameterRefused, TemplateRefused

BLOT = "••••"
STAND_IN = "preview"  # takes the place of every secret while a request is built
SHOWN_HEADERS = ("Authorization",)
BLOTTED = frozenset({"state", "code_challenge", "code", "code_verifier", "client_secret", "client_assertion"})


@dataclass(frozen=True, slots=True)
class PreviewedRequest:
    """A request as it will be sent; values that are secret or random are blotted out."""

    method: str
    url: str
    lines: tuple[tuple[str, str, str], ...]  # name, separator, value


@dataclass(frozen=True, slots=True)
class Preview:
    """What a definition means for people, for the wire and for actions, under one grant type."""

    grant_type: GrantType
    requests: tuple[PreviewedRequest, ...]
    problem: str
    expression: str

    @property
    def expression_parts(self) -> list[str]:
        """The expression's two segments, between which a line may break."""
        return self.expression.rsplit(".", 1)


class _Recorded(Exception):
    """Carries the prepared request out of the protocol code, before anything is sent."""

    def __init__(self, request: Any) -> None:
        super().__init__("recorded")
        self.request = request


class _Recorder:
    """Looks enough like a requests.Session for the protocol code to hand its request over."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    def send(self, request: Any, **_: Any) -> NoReturn:
        """Hand the request over instead of sending it."""
        raise _Recorded(request)


def preview(spec: ProviderSpec, grant_type: GrantType, *, client_id: str, redirect_uri: str) -> Preview:
    """Build the requests of one grant type. What is missing in the definition is named instead of raised."""
    requests: list[PreviewedRequest] = []
    problem = ""
    try:
        provider = provider_for(spec, grant_type)
        server = provider.server({parameter.key: f"{STAND_IN}" for parameter in spec.parameters})
        scopes = provider.effective_scopes(integration_additional=())
        method = ClientAuthMethod(spec.token_endpoint_auth_method)
        client = OAuthClient(client_id or "‹step 2›", STAND_IN, method, _stand_in_key(method))
        if grant_type == GrantType.AUTHORIZATION_CODE:
            requests.append(_authorization_request(server, client, scopes, redirect_uri))
            requests.append(_token_request(server, client, grant_type, scopes, redirect_uri))
        else:
            requests.append(_token_request(server, client, grant_type, scopes, redirect_uri))
    except OAuthError as error:
        missing = error.code == "missing_endpoint"
        problem = "Appears as soon as the endpoints are entered." if missing else error.next_step
    except (ParameterRefused, TemplateRefused) as error:
        problem = str(error)
    return Preview(grant_type, tuple(requests), problem, spec.expression(grant_type))


def _stand_in_key(method: ClientAuthMethod) -> SigningKey | None:
    """A key for this preview alone: the assertion it signs is blotted out and sent to nobody."""
    if method is not ClientAuthMethod.PRIVATE_KEY_JWT:
        return None
    return generate_signing_key(SigningAlgorithm.ES256)  # made in no time, unlike RSA


def _authorization_request(
    server: AuthorizationServer, client: OAuthClient, scopes: tuple[str, ...], redirect_uri: str
) -> PreviewedRequest:
    verifier = None if server.pkce == "off" else STAND_IN
    url = authorization_url(
        server, client.client_id, redirect_uri=redirect_uri, scopes=scopes, state=STAND_IN, code_verifier=verifier
    )
    parts = urlsplit(url)
    return PreviewedRequest("GET", f"{parts.scheme}://{parts.netloc}{parts.path}", _pairs(parts.query))


def _token_request(
    server: AuthorizationServer,
    client: OAuthClient,
    grant_type: GrantType,
    scopes: tuple[str, ...],
    redirect_uri: str,
) -> PreviewedRequest:
    # Only `headers` and `send` of a session are used; see ProtocolSession.
    recorder = cast(Any, _Recorder())
    now = datetime.now(UTC)
    verifier = None if server.pkce == "off" else STAND_IN
    try:
        if grant_type == GrantType.AUTHORIZATION_CODE:
            exchange_code(
                recorder, server, client, code=STAND_IN, redirect_uri=redirect_uri, code_verifier=verifier, now=now
            )
        else:
            fetch_token(recorder, server, client, scopes=scopes, now=now)
    except _Recorded as recorded:
        return _read(recorded.request)
    raise AssertionError("The protocol code answered without sending anything.")


def _read(request: Any) -> PreviewedRequest:
    """Take a requests.PreparedRequest apart."""
    headers = tuple(
        (name, ": ", f"{request.headers[name].split(' ')[0]} {BLOT}")
        for name in SHOWN_HEADERS
        if name in request.headers
    )
    body = request.body.decode() if isinstance(request.body, bytes) else str(request.body or "")
    return PreviewedRequest(str(request.method), str(request.url), (*headers, *_pairs(body)))


def _pairs(encoded: str) -> tuple[tuple[str, str, str], ...]:
    pairs = parse_qsl(encoded, keep_blank_values=True)
    return tuple((name, "=", BLOT if name in BLOTTED else value) for name, value in pairs)
