"""The exact requests that a definition leads to, with everything secret or random blotted out.

They are built by the code that makes the real ones, deviating providers' own included; a stand-in for the HTTP session
sends nothing (`preview`), or answers with what somebody pasted (`replay`). Secrets are no part of it: stand-ins take
their place before anything is built, and are blotted out wherever they come to stand. A parameter without a value stays
a `{{placeholder}}`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from types import SimpleNamespace
from typing import Any, NoReturn, cast
from urllib.parse import parse_qsl, urlsplit

from integrations.models import GrantType
from integrations.oauth.client import AuthorizationServer, ClientAuthMethod, OAuthClient
from integrations.oauth.client_assertion import SigningAlgorithm, SigningKey, generate_signing_key
from integrations.oauth.errors import ConfigurationRefused, OAuthError
from integrations.oauth.grants import authorization_url
from integrations.oauth.token_response import TokenResponse, TokenResponseRules, parse_token_response
from integrations.providers.base import CLIENT_ID, CLIENT_SECRET, ConfigValue, Parameter, ProviderSpec
from integrations.providers.helpers import HelperRefused, read_call
from integrations.providers.oauth_provider import OAuthProvider, provider_for
from integrations.providers.parameters import placeholder_parameters
from integrations.providers.rendering import ParameterRefused, TemplateRefused

BLOT = "••••"
NO_CLIENT_ID = "‹client id›"
# Take the place of secrets and of parameters without a value while a request is built. They fit wherever a value does,
# a host's label included, and are no words that a definition would contain.
_SECRET = "zq0secret0qz"  # noqa: S105 # a stand-in
_PLACE = "zq{number}place0qz"
_ANYTHING = r"[ -~]+"
# Said of every request; a definition's own headers come on top.
_USUAL_HEADERS = frozenset({"accept", "accept-encoding", "connection", "content-length", "user-agent"})
# Random for each request, or sent once.
_BLOTTED_PARAMETERS = frozenset(
    {"state", "code_challenge", "code", "code_verifier", "refresh_token", "token", "client_assertion", "assertion"}
)


@dataclass(frozen=True, slots=True)
class PreviewedRequest:
    """A request as it will be sent; values that are secret or random are blotted out."""

    title: str
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


def preview(
    spec: ProviderSpec,
    grant_type: GrantType,
    *,
    client_id: str,
    redirect_uri: str,
    values: Mapping[str, str] | None = None,
) -> Preview:
    """Build the requests of one grant type. What is missing in the definition is named instead of raised.

    `values` are the parameters' values by key, where some are known.
    """
    stand_in = _StandIn(spec, values or {})
    requests: list[PreviewedRequest] = []
    problem = ""
    try:
        for request in _requests(stand_in, grant_type, client_id, redirect_uri):
            requests.append(request)
    except OAuthError as error:
        missing = error.code == "missing_endpoint"
        problem = "Appears as soon as the endpoints are entered." if missing else f"{error.happened} {error.next_step}"
    except (ParameterRefused, TemplateRefused) as error:
        problem = str(error)
    return Preview(grant_type, tuple(requests), problem, spec.expression(grant_type))


class Purpose(StrEnum):
    """What a token request asks for."""

    AUTHORIZATION_CODE = "authorization_code"
    REFRESH_TOKEN = "refresh_token"  # noqa: S105 # a name
    CLIENT_CREDENTIALS = "client_credentials"


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """An HTTP answer that somebody has, and that no server sent now."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The body as text, which the protocol library asks for."""
        return self.content.decode("utf-8", "replace")

    @property
    def request(self) -> Any:
        """Its log wants to name the request."""
        return SimpleNamespace(url="", headers={}, body="")


class _Replayer(_Recorder):
    """Answers the protocol code's request with what was given."""

    def __init__(self, answer: GivenAnswer) -> None:
        super().__init__()
        self.answer, self.asked = answer, False

    def send(self, request: Any, **_: Any) -> Any:
        """The given answer, whatever is asked."""
        del request
        self.asked = True
        # A fresh, loose object: the session sets the encoding of what it gets.
        answer = self.answer
        return SimpleNamespace(
            status_code=answer.status_code,
            headers=answer.headers,
            content=answer.content,
            text=answer.text,
            request=answer.request,
        )


def replay(spec: ProviderSpec, purpose: Purpose, answer: GivenAnswer) -> TokenResponse:
    """Read a token answer as the provider's own call would, which sends nothing. Raises OAuthError.

    A refresh without a refresh token in its answer keeps a stand-in for the old one: see `is_kept`.
    """
    http = _Replayer(answer)
    grant_type = GrantType.CLIENT_CREDENTIALS if purpose is Purpose.CLIENT_CREDENTIALS else GrantType.AUTHORIZATION_CODE
    stand_in = _StandIn(spec, {})
    now = datetime.now(UTC)
    try:
        provider = provider_for(stand_in.spec, grant_type)
        client = _client(stand_in, "")
        server = provider.server(stand_in.values, client)
        session = cast(Any, http)
        if purpose is Purpose.AUTHORIZATION_CODE:
            return provider.exchange_code(
                session, server, client, code=_SECRET, redirect_uri="", code_verifier=_SECRET, now=now
            )
        if purpose is Purpose.REFRESH_TOKEN:
            return provider.refresh_token(session, server, client, refresh_token=_SECRET, now=now)
        return provider.fetch_token(session, server, client, scopes=(), values=stand_in.values, now=now)
    except (ConfigurationRefused, ParameterRefused, TemplateRefused, ValueError):
        if http.asked:
            raise
    # What cannot even be asked without real credentials (a signed assertion) is read by the plain rules.
    rules = TokenResponseRules(**cast(dict[str, Any], dict(spec.token_response)))
    return parse_token_response(
        answer.status_code, answer.headers, answer.content, rules=rules, requested_at=now, grant_type=purpose
    )


def is_kept(token: str | None) -> bool:
    """Whether a refresh token of `replay` is the stand-in for the old one."""
    return token == _SECRET


class _StandIn:
    """A definition in which nothing is secret any more, and the values that go with it."""

    def __init__(self, spec: ProviderSpec, values: Mapping[str, str]) -> None:
        self.places = {
            _PLACE.format(number=number): parameter.key
            for number, parameter in enumerate(placeholder_parameters(spec))
            if parameter.key not in (CLIENT_ID, CLIENT_SECRET)
        }
        own = {parameter.key: parameter for parameter in spec.parameters}
        self.values = {key: self._value(own.get(key), values.get(key, ""), place) for place, key in self.places.items()}
        if spec.asks_credentials:
            self.values |= {CLIENT_ID: values.get(CLIENT_ID) or NO_CLIENT_ID, CLIENT_SECRET: _SECRET}
        # A stand-in need not match the pattern; a value that was given must.
        relaxed = {
            parameter.key
            for parameter in spec.parameters
            if self.values.get(parameter.key) != values.get(parameter.key)
        }
        self.spec = replace(
            spec,
            parameters=tuple(
                replace(one, pattern=_ANYTHING, type="text", options=()) if one.key in relaxed else one
                for one in spec.parameters
            ),
            config_values=tuple(_harmless(item) for item in spec.config_values),
        )

    @staticmethod
    def _value(parameter: Parameter | None, given: str, place: str) -> str:
        if parameter is not None and parameter.type == "password":
            return _SECRET
        if given or parameter is None:
            return given or place
        return parameter.default or place

    def cleared(self, text: str) -> str:
        """The text with secrets blotted out, and the definition's placeholders where a value is not known."""
        text = text.replace(_SECRET, BLOT)
        for place, key in self.places.items():
            text = text.replace(place, f"{{{{{key}}}}}")
        return text


def _harmless(item: ConfigValue) -> ConfigValue:
    """A config value of which nothing secret is left."""
    if item.helper:
        try:
            secret = read_call(item.helper).helper.uses_credentials
        except HelperRefused:
            return item
        return replace(item, helper="", value=_SECRET) if secret else item
    return replace(item, value=_SECRET) if item.is_secret else item


def _requests(
    stand_in: _StandIn, grant_type: GrantType, client_id: str, redirect_uri: str
) -> Iterator[PreviewedRequest]:
    """Every kind of request, in the order of a connection's life."""
    spec = stand_in.spec
    provider = provider_for(spec, grant_type)
    client = _client(stand_in, client_id)
    server = provider.server(stand_in.values, client)
    scopes = provider.effective_scopes(integration_additional=())
    now = datetime.now(UTC)
    http = cast(Any, _Recorder())  # only `headers` and `send` of a session are used
    verifier = None if server.pkce == "off" else _SECRET
    if grant_type == GrantType.AUTHORIZATION_CODE:
        yield _authorization_request(stand_in, server, client, scopes, redirect_uri, verifier)
        yield _recorded(
            stand_in,
            "Exchange the code",
            lambda: provider.exchange_code(
                http, server, client, code=_SECRET, redirect_uri=redirect_uri, code_verifier=verifier, now=now
            ),
        )
        yield _recorded(
            stand_in,
            "Renew the token",
            lambda: provider.refresh_token(http, server, client, refresh_token=_SECRET, now=now),
        )
    else:
        yield _recorded(
            stand_in,
            "Fetch a token",
            lambda: provider.fetch_token(http, server, client, scopes=scopes, values=stand_in.values, now=now),
        )
    yield from _afterwards(stand_in, provider, server, client, http)


def _client(stand_in: _StandIn, client_id: str) -> OAuthClient:
    named = stand_in.values.get(CLIENT_ID) if stand_in.spec.asks_credentials else client_id
    method = ClientAuthMethod(stand_in.spec.token_endpoint_auth_method)
    return OAuthClient(named or NO_CLIENT_ID, _SECRET, method, _stand_in_key(method))


def _stand_in_key(method: ClientAuthMethod) -> SigningKey | None:
    """A key for this preview alone: the assertion it signs is blotted out and sent to nobody."""
    if method is not ClientAuthMethod.PRIVATE_KEY_JWT:
        return None
    return generate_signing_key(SigningAlgorithm.ES256)  # made in no time, unlike RSA


def _afterwards(
    stand_in: _StandIn, provider: OAuthProvider, server: AuthorizationServer, client: OAuthClient, http: Any
) -> Iterator[PreviewedRequest]:
    if server.userinfo_endpoint and provider.asks_people:
        yield _recorded(stand_in, "Ask whose account it is", lambda: provider.userinfo(http, server, _SECRET))
    if server.revocation_endpoint:
        yield _recorded(
            stand_in,
            "Revoke on disconnect",
            lambda: provider.revoke(http, server, client, token=_SECRET, token_type_hint="access_token"),  # noqa: S106 # a name
        )


def _authorization_request(
    stand_in: _StandIn,
    server: AuthorizationServer,
    client: OAuthClient,
    scopes: tuple[str, ...],
    redirect_uri: str,
    verifier: str | None,
) -> PreviewedRequest:
    url = authorization_url(
        server, client.client_id, redirect_uri=redirect_uri, scopes=scopes, state=_SECRET, code_verifier=verifier
    )
    parts = urlsplit(url)
    address = stand_in.cleared(f"{parts.scheme}://{parts.netloc}{parts.path}")
    return PreviewedRequest("Send the browser to consent", "GET", address, _pairs(stand_in, parts.query))


def _recorded(stand_in: _StandIn, title: str, call: Callable[[], object]) -> PreviewedRequest:
    """The request that a call would have sent. Raises what the call refuses to send."""
    try:
        call()
    except _Recorded as recorded:
        return _read(stand_in, title, recorded.request)
    raise AssertionError("The protocol code answered without sending anything.")


def _read(stand_in: _StandIn, title: str, request: Any) -> PreviewedRequest:
    """Take a requests.PreparedRequest apart."""
    headers = {str(name): str(value) for name, value in request.headers.items()}
    body = request.body.decode() if isinstance(request.body, bytes) else str(request.body or "")
    form = "json" not in headers.get("Content-Type", "")
    shown = tuple(
        (name, ": ", f"{value.split(' ')[0]} {BLOT}" if name == "Authorization" else stand_in.cleared(value))
        for name, value in headers.items()
        if name.lower() not in _USUAL_HEADERS and not (form and name == "Content-Type")
    )
    pairs = _pairs(stand_in, body) if form else _json_lines(stand_in, body)
    return PreviewedRequest(title, str(request.method), stand_in.cleared(str(request.url)), (*shown, *pairs))


def _pairs(stand_in: _StandIn, encoded: str) -> tuple[tuple[str, str, str], ...]:
    pairs = parse_qsl(encoded, keep_blank_values=True)
    return tuple((name, "=", BLOT if name in _BLOTTED_PARAMETERS else stand_in.cleared(value)) for name, value in pairs)


def _json_lines(stand_in: _StandIn, body: str) -> tuple[tuple[str, str, str], ...]:
    """A JSON body, a line each where it is an object."""
    try:
        found = json.loads(body)
    except ValueError:
        found = body
    if not isinstance(found, dict):
        return (("body", ": ", stand_in.cleared(body)),)
    return tuple(
        (name, ": ", BLOT if name in _BLOTTED_PARAMETERS else stand_in.cleared(json.dumps(value, ensure_ascii=False)))
        for name, value in found.items()
    )
