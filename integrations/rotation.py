"""Re-encrypting under the first key: every encrypted column of every model, in id order, while the product runs; and
people's second factors.

Each value is replaced by compare-and-swap on its old ciphertext, so a token that is renewed meanwhile wins. Values
under the first key already are passed over: a run that was stopped goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.apps import apps
from django.db import models

from integrations import crypto, second_factors
from integrations.fields import Sealed, SealedTextField, closed, sealed_fields, swap_ciphertext

BATCH = 500


@dataclass
class Progress:
    """Counts of values. `unreadable` ones were left alone: no configured key opens them, or they are misplaced."""

    seen: int = 0
    rotated: int = 0
    current: int = 0  # under the first key already
    changed_meanwhile: int = 0
    unreadable: int = 0


type_Report = Callable[[str, Progress], None]


def _silent(_name: str, _progress: Progress) -> None:
    """Report nothing."""


def rotate(*, dry_run: bool = False, report: type_Report = _silent) -> Progress:
    """Re-encrypt everything under the first key. `report` is called after each batch with the model's name."""
    progress = Progress()
    for model in encrypted_models():
        for rows in _batches(model):
            for row in rows:
                for column in sealed_fields(model):
                    _rotate_value(column, row, progress, dry_run=dry_run)
            report(model._meta.label, progress)
    before = progress.seen
    second_factors.reseal_each(partial(_rotate_second_factor, progress=progress, dry_run=dry_run))
    if progress.seen > before:
        report("second factors", progress)
    return progress


def _rotate_second_factor(ciphertext: bytes, context: str, *, progress: Progress, dry_run: bool) -> bytes | None:
    """The ciphertext under the first key; None where there is nothing to store."""
    progress.seen += 1
    if crypto.is_under_first_key(ciphertext):
        progress.current += 1
        return None
    try:
        new = crypto.reseal(ciphertext, context)
    except crypto.SealError:
        progress.unreadable += 1
        return None
    progress.rotated += 1
    return None if dry_run else new


def encrypted_models() -> list[type[models.Model]]:
    """Every model with an encrypted column, in a fixed order."""
    return sorted((model for model in apps.get_models() if sealed_fields(model)), key=lambda model: model._meta.label)


def _batches(model: type[models.Model]) -> Iterator[list[models.Model]]:
    """All rows in id order, without holding a transaction between batches."""
    rows: models.QuerySet[Any] = model._default_manager.order_by("pk")
    names = ["pk", "workspace_id", *(column.attname for column in sealed_fields(model))]
    batch = list(rows.only(*names)[:BATCH])
    while batch:
        yield batch
        batch = list(rows.only(*names).filter(pk__gt=batch[-1].pk)[:BATCH])


def _rotate_value(column: SealedTextField, row: models.Model, progress: Progress, *, dry_run: bool) -> None:
    with closed():
        value = getattr(row, column.attname)
    if not isinstance(value, Sealed):
        return
    progress.seen += 1
    try:
        new = crypto.reseal(value.ciphertext, column.context(row))
    except crypto.SealError:
        progress.unreadable += 1
        return
    if crypto.is_under_first_key(value.ciphertext):
        progress.current += 1
    elif dry_run or swap_ciphertext(column, row.pk, value.ciphertext, new):
        progress.rotated += 1
    else:
        progress.changed_meanwhile += 1
