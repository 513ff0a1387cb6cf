"""The built-in providers: `catalogue/*.yaml`, one file each, read strictly and once.

A file is refused as a whole, with its name, the key and what to do about it. `integrations.checks` refuses to start on
a broken one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import yaml
from django.conf import settings

from integrations.providers.base import ProviderSpec
from integrations.providers.definition import InvalidDefinition, read_catalogue_definition
from integrations.providers.parameters import ENDPOINT_FIELDS
from integrations.providers.strict_yaml import StrictLoader

CATALOGUE_FOLDER = Path(__file__).parent / "catalogue"
CUSTOM_PREFIX = "custom_"
# A file with this key describes a server whose address is a setting: it exists only while that is set, and its
# endpoints are paths on it.
BASE_URL_SETTING = "base_url_setting"
_BASE_URL_SETTINGS = frozenset({"SANDBOX_BASE_URL"})


@dataclass(frozen=True, slots=True)
class CatalogueProblem:
    """Why a file cannot be used."""

    file: str
    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.message}"


class CatalogueError(Exception):
    """Some file of the catalogue cannot be used; `problems` names each."""

    def __init__(self, problems: list[CatalogueProblem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


def catalogue() -> Mapping[str, ProviderSpec]:
    """The built-in providers by id, as the settings now are. Raises CatalogueError."""
    return _load(CATALOGUE_FOLDER, _base_urls())


def load_catalogue(folder: Path) -> Mapping[str, ProviderSpec]:
    """Read every file of a folder. Raises CatalogueError with all problems of all files."""
    return _load.__wrapped__(folder, _base_urls())


def _base_urls() -> tuple[tuple[str, str], ...]:
    """Part of the cache key, so that a changed setting is seen (tests, reloads)."""
    return tuple((name, getattr(settings, name, "")) for name in sorted(_BASE_URL_SETTINGS))


@lru_cache(maxsize=8)
def _load(folder: Path, base_urls: tuple[tuple[str, str], ...]) -> Mapping[str, ProviderSpec]:
    specs: dict[str, ProviderSpec] = {}
    files: dict[str, str] = {}
    problems: list[CatalogueProblem] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            spec = _read_file(path, dict(base_urls))
        except CatalogueError as error:
            problems.extend(error.problems)
            continue
        if spec is None:
            continue
        if spec.provider_id in specs:
            problems.append(
                CatalogueProblem(
                    path.name,
                    "provider_id",
                    f"“{spec.provider_id}” is taken by {files[spec.provider_id]}. Give each provider its own id.",
                )
            )
        elif spec.provider_id != path.stem:
            problems.append(
                CatalogueProblem(
                    path.name, "provider_id", f"The file's name is its id: rename it to {spec.provider_id}.yaml."
                )
            )
        specs[spec.provider_id] = spec
        files[spec.provider_id] = path.name
    if problems:
        raise CatalogueError(problems)
    return MappingProxyType(specs)


def _read_file(path: Path, base_urls: Mapping[str, str]) -> ProviderSpec | None:
    definition = _parse(path)
    allowed_hosts: list[str] = []
    setting = definition.pop(BASE_URL_SETTING, None)
    if setting is not None:
        if setting not in base_urls:
            raise CatalogueError(
                [CatalogueProblem(path.name, BASE_URL_SETTING, f"Use one of: {', '.join(sorted(base_urls))}.")]
            )
        base_url = base_urls[setting]
        if not base_url:
            return None
        definition = _on_base_url(definition, base_url)
        # Whether the host may really be called is judged by the outbound door, as for any other.
        allowed_hosts = [_host_port(base_url)]
    try:
        spec = read_catalogue_definition(definition, allowed_hosts=allowed_hosts)
    except InvalidDefinition as error:
        raise CatalogueError(
            [CatalogueProblem(path.name, key, " ".join(sentences)) for key, sentences in error.errors.items()]
        ) from error
    if not spec.provider_id.isidentifier() or spec.provider_id != spec.provider_id.lower():
        message = "Write an id of lower-case letters, digits and underscores."
        raise CatalogueError([CatalogueProblem(path.name, "provider_id", message)])
    if spec.provider_id.startswith(CUSTOM_PREFIX):
        message = f"Choose an id that does not begin with {CUSTOM_PREFIX}: those belong to workspaces."
        raise CatalogueError([CatalogueProblem(path.name, "provider_id", message)])
    return spec


def _parse(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=StrictLoader)  # noqa: S506 # a safe loader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = CatalogueProblem(path.name, "file", f"This is not YAML that can be read: {error}")
        raise CatalogueError([problem]) from error
    if not isinstance(content, dict):
        raise CatalogueError([CatalogueProblem(path.name, "file", "Write one provider: keys with values.")])
    return content


def _on_base_url(definition: dict[str, Any], base_url: str) -> dict[str, Any]:
    """Endpoints that begin with a slash are paths on the server; a slash alone is the server itself (its issuer)."""
    return {
        key: base_url + (value if value != "/" else "")
        if key in ENDPOINT_FIELDS and isinstance(value, str) and value.startswith("/")
        else value
        for key, value in definition.items()
    }


def _host_port(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
