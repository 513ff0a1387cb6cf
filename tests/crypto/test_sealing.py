"""Sealing and opening: what a ciphertext is bound to."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.fernet import Fernet

from integrations import crypto


def test_it_opens_what_it_sealed_for_the_same_place() -> None:
    ciphertext = crypto.seal("s3cret ✓", "a:1:2:c")
    assert crypto.open_sealed(ciphertext, "a:1:2:c") == "s3cret ✓"
    assert b"s3cret" not in ciphertext


def test_it_refuses_another_place() -> None:
    ciphertext = crypto.seal("s3cret", "a:1:2:c")
    with pytest.raises(crypto.WrongRow):
        crypto.open_sealed(ciphertext, "a:1:3:c")


def test_text_with_nul_does_not_move_the_boundary() -> None:
    ciphertext = crypto.seal("x\x00y", "a:1")
    assert crypto.open_sealed(ciphertext, "a:1") == "x\x00y"
    with pytest.raises(crypto.WrongRow):
        crypto.open_sealed(ciphertext, "a:1\x00x")


@pytest.mark.parametrize("context", ["", "a\x00b"])
def test_it_refuses_a_context_that_says_nothing(context: str) -> None:
    with pytest.raises(crypto.SealError):
        crypto.seal("x", context)


def test_without_its_key_it_is_undecryptable_and_says_no_secret(settings: Any) -> None:
    ciphertext = crypto.seal("s3cret", "a:1")
    settings.FERNET_KEYS = [Fernet.generate_key()]
    with pytest.raises(crypto.Undecryptable) as caught:
        crypto.open_sealed(ciphertext, "a:1")
    assert "s3cret" not in str(caught.value)


def test_an_old_key_still_opens_and_resealing_moves_to_the_first(settings: Any) -> None:
    ciphertext = crypto.seal("s3cret", "a:1")
    settings.FERNET_KEYS = [Fernet.generate_key(), *settings.FERNET_KEYS]
    assert not crypto.is_under_first_key(ciphertext)
    moved = crypto.reseal(ciphertext, "a:1")
    assert crypto.is_under_first_key(moved)
    settings.FERNET_KEYS = settings.FERNET_KEYS[:1]
    assert crypto.open_sealed(moved, "a:1") == "s3cret"
