"""Values of a provider's parameters, encrypted: some are passwords, and which ones is the definition's to say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from integrations.crypto import SealError
from integrations.fields import SealedModel, SealedTextField


class WithParameters(SealedModel):
    """Adds `parameters`, a mapping by key. It is read and set as a whole; changing what was read changes nothing."""

    sealed_parameters = SealedTextField(null=True)  # JSON; null: none

    class Meta(SealedModel.Meta):
        abstract = True

    @property
    def parameters(self) -> dict[str, Any]:
        """The values. Raises crypto.SealError when no configured key opens them."""
        text = self.sealed_parameters
        return json.loads(text) if text else {}

    @parameters.setter
    def parameters(self, values: Mapping[str, Any]) -> None:
        self.sealed_parameters = json.dumps(dict(values)) if values else None  # type: ignore[assignment] # text in

    @property
    def has_parameters(self) -> bool:
        """Whether any value is stored, without opening it."""
        return cast(SealedTextField, self._meta.get_field("sealed_parameters")).is_stored(self)

    @property
    def readable_parameters(self) -> dict[str, Any]:
        """The values for forms and pages: none where no key opens them, so that they are asked anew."""
        try:
            return self.parameters
        except SealError:
            return {}
