"""Ids of custom providers (product row 5)."""

from __future__ import annotations

import re
import unicodedata

from integrations.providers.catalogue import CUSTOM_PREFIX
from workspaces.models import Workspace

MAX_ID_LENGTH = 80  # leaves room for the suffix in the column


def custom_provider_id(workspace: Workspace, name: str, provider_id: str = "") -> str:
    """The id that a new custom provider gets: free now, though a concurrent request may take it first.

    A slug with underscores of the id or name, `custom_` in front unless it is there, `_1`, `_2` … when taken. The
    prefix is also why no built-in id can be taken: no catalogue file may begin with it.
    """
    base = slug_with_underscores(provider_id) or slug_with_underscores(name) or "provider"
    if not base.startswith(CUSTOM_PREFIX):
        base = f"{CUSTOM_PREFIX}{base}"
    base = base[:MAX_ID_LENGTH].rstrip("_")
    own = workspace.custom_providers.filter(provider_id__startswith=base)
    taken = set(own.values_list("provider_id", flat=True))
    number = 0
    candidate = base
    while candidate in taken:
        number += 1
        candidate = f"{base}_{number}"
    return candidate


def slug_with_underscores(text: str) -> str:
    """Lower-case ASCII letters and digits, anything else one underscore; empty when nothing is left."""
    ascii_text = unicodedata.normalize("NFKD", text[:500]).encode("ascii", "ignore").decode("ascii")
    return re.sub(r"[^a-z0-9]+", "_", ascii_text.lower()).strip("_")
