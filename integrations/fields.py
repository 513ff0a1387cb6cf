"""Encrypted columns: the only way our models use fernet_fields.

Unguarded, `update()` and `bulk_update()` would store the encrypted text of an SQL expression and lose the token, and
ciphertext could be copied between rows. Here a value is sealed in `pre_save` with its row's identity (model,
workspace, id, column), opened on attribute access with the same identity, and every write that does not go through
`pre_save` is refused. Rows therefore need ids made in Python, a `workspace_id`, and `SealedModel` as their base.

Writes that must be conditional go past `save()`: `SealedQuerySet.replace_sealed` (a fenced UPDATE that seals for one
row) and `swap_ciphertext` (key rotation) here, and renewals by the thousand (`connections.quick_apply`), which seal by
`models.sealed_tokens`; nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pickle import PicklingError
from typing import Any, ClassVar, cast

from django.core.exceptions import FieldError
from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.query_utils import DeferredAttribute
from fernet_fields import EncryptedTextField

from integrations import crypto

_closed: ContextVar[bool] = ContextVar("sealed_columns_stay_closed", default=False)


@contextmanager
def closed() -> Iterator[None]:
    """Within this block sealed attributes are handed around as they are, without being opened."""
    mark = _closed.set(True)
    try:
        yield
    finally:
        _closed.reset(mark)


@dataclass(frozen=True, slots=True)
class Sealed:
    """Ciphertext; `stored` says that it is what the database holds already, so a save has nothing to write."""

    ciphertext: bytes = field(repr=False)
    stored: bool = field(default=False, repr=False)

    def __str__(self) -> str:
        return "<sealed>"


@dataclass(frozen=True, slots=True)
class Plain:
    """Text that was set on an instance and not saved yet. Shows itself to nobody, and is not pickled."""

    text: str = field(repr=False)

    def __str__(self) -> str:
        return "<to be sealed>"

    def __reduce__(self) -> Any:
        raise PicklingError("A secret that is not saved yet cannot be pickled.")


class SealedAttribute(DeferredAttribute):
    """Opens the ciphertext each time it is read, so that no plaintext stays on the instance.

    A data descriptor: without `__set__` the instance's own dictionary would win and hand out what it holds.
    """

    field: SealedTextField

    def __get__(self, instance: Any, cls: Any = None) -> Any:
        """Return plaintext or None. Raises crypto.SealError when it cannot be opened; the row is left alone."""
        if instance is None:
            return self
        value = super().__get__(instance, cls)  # loads a deferred column
        if value is None or _closed.get():
            return value
        if isinstance(value, Plain):
            return value.text
        return crypto.open_sealed(value.ciphertext, self.field.context(instance))

    def __set__(self, instance: Any, value: Any) -> None:
        if isinstance(value, str):
            value = Plain(value)
        elif value is not None and not isinstance(value, Sealed | Plain):
            raise FieldError(f"{self.field.name}: only text can be encrypted, not {type(value).__name__}.")
        instance.__dict__[self.field.attname] = value


class SealedTextField(EncryptedTextField):  # type: ignore[misc] # fernet_fields has no type information
    """Text, encrypted and bound to its row. Null means nothing is stored."""

    descriptor_class = SealedAttribute

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["editable"] = False
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        """As usual, without `editable`, which is never anything else."""
        name, path, args, kwargs = super().deconstruct()
        kwargs.pop("editable", None)
        return name, path, args, kwargs

    def context(self, instance: models.Model) -> str:
        """The identity of the place: model, workspace, row, column."""
        return self.context_of(getattr(instance, "workspace_id", None), instance.pk)

    def context_of(self, workspace_id: Any, pk: Any) -> str:
        """The same for a row that is known by its ids only."""
        if workspace_id is None or pk is None:
            raise FieldError(f"{self.name}: an encrypted value needs its row's workspace and id first.")
        return f"{self.model._meta.label_lower}:{workspace_id}:{pk}:{self.column}"

    def is_stored(self, instance: models.Model) -> bool:
        """Whether the column holds something, without opening it."""
        with closed():
            return getattr(instance, self.attname) is not None

    def pre_save(self, model_instance: models.Model, add: bool) -> Sealed | None:
        """Seal plaintext for this row; ciphertext that was never changed goes back untouched.

        Ciphertext on a row that is being added (a copied instance) must have been made for that row: raises WrongRow.
        """
        with closed():
            value = getattr(model_instance, self.attname)
        if isinstance(value, Plain):
            value = Sealed(crypto.seal(value.text, self.context(model_instance)))
            setattr(model_instance, self.attname, value)
        elif isinstance(value, Sealed) and add:
            crypto.open_sealed(value.ciphertext, self.context(model_instance))
        return cast("Sealed | None", value)

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        """Write ciphertext; refuse whatever did not come through `pre_save` (update(), bulk_update(), fixtures)."""
        if value is None:
            return None
        if not isinstance(value, Sealed):
            raise FieldError(
                f"{self.name} is encrypted: set it on the instance and save(), no update(), bulk_update() or fixture."
            )
        return binary(value.ciphertext, connection)

    def from_db_value(self, value: Any, *_args: Any) -> Sealed | None:
        """Keep ciphertext closed until an instance opens it; whoever reads past instances sees `<sealed>`."""
        return None if value is None else Sealed(bytes(value), stored=True)

    def to_python(self, value: Any) -> Any:
        """Plaintext and sealed values pass through."""
        return value

    def value_to_string(self, obj: models.Model) -> str:  # noqa: ARG002 (Django's signature)
        """Refused: an export would carry plaintext."""
        raise FieldError(f"{self.name} is encrypted and is not exported.")


def binary(ciphertext: bytes, connection: BaseDatabaseWrapper) -> Any:
    """Ciphertext as the database's driver wants a binary parameter."""
    wrapper: Any = connection
    return wrapper.Database.Binary(ciphertext)


def sealed_fields(model: type[models.Model]) -> list[SealedTextField]:
    """The encrypted columns of a model."""
    return [f for f in model._meta.concrete_fields if isinstance(f, SealedTextField)]


def swap_ciphertext(column: SealedTextField, pk: Any, old: bytes, new: bytes, *, using: str = "default") -> bool:
    """Put `new` in the place of `old` in one row, if `old` still stands there. For key rotation."""
    database = connections[using]
    quote = database.ops.quote_name
    table, identity = column.model._meta.db_table, column.model._meta.pk
    assert identity.column is not None  # noqa: S101 (every stored model has one)
    name, key = quote(column.column), quote(identity.column)
    sql = f"UPDATE {quote(table)} SET {name} = %s WHERE {key} = %s AND {name} = %s"  # noqa: S608 (our own columns)
    with database.cursor() as cursor:
        cursor.execute(sql, [binary(new, database), identity.get_db_prep_value(pk, database), binary(old, database)])
        return bool(cursor.rowcount == 1)


class SealedQuerySet(models.QuerySet[Any]):
    """Refuses writes and reads that would pass an encrypted column by its row."""

    def _refuse(self, names: Any, what: str) -> None:
        sealed = {f.name for f in sealed_fields(self.model)}
        if found := sealed & {str(name) for name in names}:
            raise FieldError(f"{what} is refused on encrypted columns: {', '.join(sorted(found))}.")

    def update(self, **kwargs: Any) -> int:
        """As usual, but never on an encrypted column."""
        self._refuse(kwargs, "update()")
        return super().update(**kwargs)

    def replace_sealed(self, *, workspace_id: Any, pk: Any, plaintexts: Mapping[str, str], **values: Any) -> bool:
        """Update one row of this set, sealing explicitly for it; False when the set does not hold the row (any more).

        For compare-and-swap: `filter(version=7).replace_sealed(...)`.
        """
        sealed = {
            column.name: Sealed(crypto.seal(plaintexts[column.name], column.context_of(workspace_id, pk)))
            for column in sealed_fields(self.model)
            if column.name in plaintexts
        }
        row = self.filter(pk=pk, workspace_id=workspace_id)
        return models.QuerySet.update(row, **values, **sealed) == 1

    def bulk_update(self, objs: Any, fields: Any, batch_size: int | None = None) -> int:
        """As usual, but never on an encrypted column."""
        fields = list(fields)
        self._refuse(fields, "bulk_update()")
        return super().bulk_update(objs, fields, batch_size)

    def bulk_create(
        self,
        objs: Iterable[Any],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Collection[str] | None = None,
        unique_fields: Collection[str] | None = None,
    ) -> list[Any]:
        """As usual; an upsert would put one row's ciphertext into another's."""
        self._refuse(update_fields or (), "bulk_create() with update_fields")
        return super().bulk_create(objs, batch_size, ignore_conflicts, update_conflicts, update_fields, unique_fields)

    def values(self, *fields: Any, **expressions: Any) -> Any:
        """As usual; encrypted columns have to be read through an instance."""
        self._refuse_reading(fields, expressions, "values()")
        return super().values(*fields, **expressions)

    def values_list(self, *fields: Any, flat: bool = False, named: bool = False) -> Any:
        """As usual; encrypted columns have to be read through an instance."""
        self._refuse_reading(fields, {}, "values_list()")
        return super().values_list(*fields, flat=flat, named=named)

    def _refuse_reading(self, fields: Any, expressions: dict[str, Any], what: str) -> None:
        if not fields and not expressions:
            raise FieldError(f"{what} without names would include encrypted columns; name the fields.")
        named = [getattr(value, "name", "") for value in (*fields, *expressions.values()) if not isinstance(value, str)]
        self._refuse((*fields, *named), what)


class SealedModel(models.Model):
    """Base of every model with encrypted columns. Its children's Meta must inherit `SealedModel.Meta`."""

    objects: ClassVar[Any] = SealedQuerySet.as_manager()

    class Meta:
        abstract = True
        base_manager_name = "objects"  # related objects and Django's own helpers are guarded too

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Write everything but ciphertext that was not changed.

        A stale instance must not put back what was rotated or re-encrypted since it was loaded, nor can a value that
        no key opens be lost by saving the columns beside it.
        """
        if (
            not args
            and kwargs.get("update_fields") is None
            and not self._state.adding
            and not kwargs.get("force_insert")
        ):
            with closed():
                kwargs["update_fields"] = [f.name for f in self._meta.concrete_fields if self._is_to_be_written(f)]
        super().save(*args, **kwargs)

    def _is_to_be_written(self, column: models.Field[Any, Any]) -> bool:
        if column.primary_key or column.attname not in self.__dict__:
            return False
        value = self.__dict__[column.attname]
        return not (isinstance(value, Sealed) and value.stored)

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        """As usual; ciphertext is taken over unopened, so a value that no key opens does not stand in the way."""
        with closed():
            super().refresh_from_db(*args, **kwargs)

    def clean_fields(self, exclude: Collection[str] | None = None) -> None:
        """As usual, without opening what is encrypted."""
        super().clean_fields({*(exclude or ()), *(f.name for f in sealed_fields(type(self)))})
