"""Token reads past the framework: the same questions in the same order, asked of one row.

Only the plain request of a program with a good key is answered here, and what its token's renewal refused. For
anything else `answer` is None, and the call in `tokens` answers: a bad key or an odd query may take a little longer.
"""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError
from django.utils import timezone
from ninja.responses import NinjaJSONEncoder

from integrations.api.authentication import limit_requests, raw_key_of
from integrations.api.problems import PROBLEM_JSON, Problem, problem_content
from integrations.api.refusals import REFUSALS, problem_of
from integrations.api.tokens import MAX_MIN_TTL, token_content
from integrations.connections import reading
from integrations.connections.read_connections import NoConnection
from integrations.connections.tokens import DEFAULT_MIN_TTL, usable_token
from integrations.models import GrantType
from integrations.providers.registry import builtin_specs
from workspaces.api_keys import accept, has_scope, prefix_of
from workspaces.audit import Actor
from workspaces.roles import KeyScope

logger = logging.getLogger(__name__)

BEGINNING, END = "/api/v1/", "/token"
TOKEN_JSON = "application/json; charset=utf-8"  # noqa: S105 (a media type)
_BY_ID = re.compile(r"/api/v1/connections/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/token")
_BY_INTEGRATION = re.compile(r"/api/v1/integrations/([a-z0-9_]{1,100})/([a-z_]{1,32})/token")
# Each name once and nothing to decode; other spellings are the framework's to read.
_QUERY = re.compile(r"(?:connection=([A-Za-z0-9._-]{1,100}))?(?:(?:^|&)min_ttl=([0-9]{1,5}))?")
_REFUSED = tuple(REFUSALS)


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, the headers that are its own, and the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Asked:
    wanted: reading.ById | reading.ByIntegration
    min_ttl: int


def answer(path: str, query: str, authorization: str, request_id: uuid.UUID) -> Answer | None:
    """Answer `GET path?query`, or leave it to the framework. May wait for a renewal.

    Uses Django's connection of this thread now and then; the caller gives it back.
    """
    asked = _asked(path, query)
    raw_key = raw_key_of(authorization) if asked is not None else None
    prefix = prefix_of(raw_key) if raw_key is not None else None
    if asked is None or raw_key is None or prefix is None:
        return None
    try:
        found = reading.find(prefix, asked.wanted)
    except (DatabaseError, psycopg.Error, NoConnection) as error:
        logger.warning("A token read goes the long way: the database did not answer (%s).", type(error).__name__)
        return None
    if found is None:
        return None
    api_key = accept(found.api_key, raw_key, timezone.now())
    if api_key is None or not has_scope(api_key, KeyScope.TOKENS_READ):
        return None
    try:
        limit_requests(api_key)
    except Problem:
        return None  # counts twice what is refused anyway
    try:
        token = usable_token(found.connection, min_ttl=asked.min_ttl, actor=Actor.api_key(api_key, request_id))
    except _REFUSED as error:
        return _problem_answer(problem_of(error), request_id)
    body = json.dumps(token_content(token), cls=NinjaJSONEncoder)
    return Answer(200, {"Content-Type": TOKEN_JSON}, body.encode())


def _asked(path: str, query: str) -> _Asked | None:
    """What the request names, if it is spelled the plain way."""
    if not (path.startswith(BEGINNING) and path.endswith(END)):
        return None
    read = _QUERY.fullmatch(query)
    if read is None:
        return None
    name, min_ttl = read.group(1), DEFAULT_MIN_TTL if read.group(2) is None else int(read.group(2))
    if min_ttl > MAX_MIN_TTL:
        return None
    if (by_id := _BY_ID.fullmatch(path)) is not None:
        return _Asked(reading.ById(UUID(by_id.group(1))), min_ttl) if name is None else None
    if (by_integration := _BY_INTEGRATION.fullmatch(path)) is None:
        return None
    provider_id, grant_type = by_integration.groups()
    # Whether a workspace's own provider is still there, and what it supports, is one query more.
    spec = builtin_specs().get(provider_id)
    if spec is None or grant_type not in GrantType.values or not spec.supports(grant_type):
        return None
    return _Asked(reading.ByIntegration(provider_id, grant_type, name), min_ttl)


def _problem_answer(problem: Problem, request_id: uuid.UUID) -> Answer:
    content: dict[str, Any] = problem_content(problem, request_id)
    headers = {**problem.headers, "Content-Type": PROBLEM_JSON}
    return Answer(problem.kind.status, headers, json.dumps(content, cls=DjangoJSONEncoder).encode())
