"""Static files leave compressed even where nobody ran collectstatic."""

from __future__ import annotations

import gzip

import pytest
from django.conf import settings
from django.test import Client


@pytest.mark.parametrize("name", ["vendor/tabler-core/tabler.min.css", "css/grantry.css", "js/tags.js"])
def test_text_is_compressed_for_browsers_that_accept_it(name: str, client: Client) -> None:
    answer = client.get(f"/static/{name}", headers={"Accept-Encoding": "gzip"})
    sent = b"".join(answer.streaming_content)  # type: ignore[attr-defined]
    original = (settings.BASE_DIR / "static" / name).read_bytes()
    assert answer["Content-Encoding"] == "gzip"
    assert gzip.decompress(sent) == original
    assert len(sent) < len(original) / 2


def test_fonts_are_sent_as_they_are(client: Client) -> None:
    answer = client.get("/static/vendor/inter/inter-latin.woff2", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in answer


@pytest.mark.django_db
def test_pages_are_never_compressed(client: Client) -> None:
    answer = client.get("/accounts/login/", headers={"Accept-Encoding": "gzip"})
    assert answer.status_code == 200
    assert "Content-Encoding" not in answer
