"""Encrypted columns: the only way our models use fernet_fields.

Unguarded, `update()` and `bulk_update()` would store the encrypted text of an SQL expression and lose the token, and
ciphertext could be copied between rows. Here a value is sealed in `pre_save` with its row's identity (model,
workspace, id, column), opened lazily on attribute access with the same identity, and every write that does not go
through `pre_save` is refused. Rows therefore need ids made in Python and a `workspace_id`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import FieldError
from django.db import models
from django.db.models.query_utils import DeferredAttribute
from fernet_fields import EncryptedTextField

from integrations import crypto


@dataclass(frozen=True, slots=True)
class Sealed:
    """Ciphertext as it stands in the database; opened on attribute access, written back unchanged."""

    ciphertext: bytes = field(repr=False)

    def __str__(self) -> str:
        return "<sealed>"


class SealedAttribute(DeferredAttribute):
    """Opens the ciphertext when the attribute is read, with the identity of the instance it is read from."""

    field: SealedTextField

    def __get__(self, instance: Any, cls: Any = None) -> Any:
        """Return plaintext or None. Raises crypto.SealError when it cannot be opened; the row is left alone."""
        if instance is None:
            return self
        value = super().__get__(instance, cls)  # type: ignore[no-untyped-call] # loads a deferred column
        if isinstance(value, Sealed):
            value = crypto.open_sealed(value.ciphertext, self.field.context(instance))
            instance.__dict__[self.field.attname] = value
        return value


class SealedTextField(EncryptedTextField):  # type: ignore[misc] # fernet_fields has no type information
    """Text, encrypted and bound to its row. Null means nothing is stored."""

    descriptor_class = SealedAttribute

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("editable", False)
        super().__init__(*args, **kwargs)

    def context(self, instance: models.Model) -> str:
        """The identity of the place: model, workspace, row, column."""
        workspace_id = getattr(instance, "workspace_id", None)
        if workspace_id is None or instance.pk is None:
            raise FieldError(f"{self.name}: an encrypted value needs its row's workspace and id first.")
        return f"{instance._meta.label_lower}:{workspace_id}:{instance.pk}:{self.column}"

    def pre_save(self, model_instance: models.Model, add: bool) -> Sealed | None:
        """Seal plaintext for this row; ciphertext that was never opened goes back untouched."""
        value = model_instance.__dict__.get(self.attname)
        if value is None or isinstance(value, Sealed):
            return value
        if not isinstance(value, str):
            raise FieldError(f"{self.name}: only text can be encrypted, not {type(value).__name__}.")
        return Sealed(crypto.seal(value, self.context(model_instance)))

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        """Write ciphertext; refuse whatever did not come through `pre_save` (update(), bulk_update(), fixtures)."""
        if value is None:
            return None
        if not isinstance(value, Sealed):
            raise FieldError(f"{self.name} is encrypted: set it on the instance and save(), no update() or bulk_update().")
        return connection.Database.Binary(value.ciphertext)

    def from_db_value(self, value: Any, expression: Any, connection: Any, *args: Any) -> Sealed | None:
        """Keep ciphertext closed until an instance opens it; `values()` gets a masked wrapper, never plaintext."""
        return None if value is None else Sealed(bytes(value))

    def to_python(self, value: Any) -> Any:
        """Plaintext and sealed values pass through."""
        return value

    def value_to_string(self, obj: models.Model) -> str:
        """Refused: an export would carry plaintext."""
        raise FieldError(f"{self.name} is encrypted and is not exported.")


class SealedQuerySet(models.QuerySet[Any]):
    """Refuses writes and reads that would pass an encrypted column by its row."""

    def _sealed_names(self) -> set[str]:
        return {f.name for f in self.model._meta.concrete_fields if isinstance(f, SealedTextField)}

    def _refuse(self, names: Any, what: str) -> None:
        if found := self._sealed_names() & {str(name) for name in names}:
            raise FieldError(f"{what} is refused on encrypted columns: {', '.join(sorted(found))}.")

    def update(self, **kwargs: Any) -> int:
        """As usual, but never on an encrypted column."""
        self._refuse(kwargs, "update()")
        return super().update(**kwargs)

    def bulk_update(self, objs: Any, fields: Any, batch_size: int | None = None) -> int:
        """As usual, but never on an encrypted column."""
        fields = list(fields)
        self._refuse(fields, "bulk_update()")
        return super().bulk_update(objs, fields, batch_size)

    def values(self, *fields: Any, **expressions: Any) -> Any:
        """As usual; encrypted columns have to be read through an instance."""
        self._refuse(fields, "values()")
        if not fields:
            raise FieldError("values() without names would include encrypted columns; name the fields.")
        return super().values(*fields, **expressions)

    def values_list(self, *fields: Any, flat: bool = False, named: bool = False) -> Any:
        """As usual; encrypted columns have to be read through an instance."""
        self._refuse(fields, "values_list()")
        if not fields:
            raise FieldError("values_list() without names would include encrypted columns; name the fields.")
        return super().values_list(*fields, flat=flat, named=named)
