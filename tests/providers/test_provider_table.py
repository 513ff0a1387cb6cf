"""The table in docs/providers.md is what the files say."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from integrations.providers.catalogue import catalogue
from integrations.providers.table import NoTable, table_of, with_table

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "providers.md"


@pytest.fixture(autouse=True)
def _without_sandbox(settings: Any) -> None:
    settings.SANDBOX_BASE_URL = ""


def test_the_documents_table_is_up_to_date() -> None:
    """If this fails: make catalogue."""
    document = DOCUMENT.read_text()
    assert document.count("\n| `") == len(catalogue())
    assert with_table(document, catalogue()) == document


def test_rows_say_what_a_reader_looks_for() -> None:
    rows = {line.split("`")[1]: line for line in table_of(catalogue().values()).splitlines()[2:]}
    assert "`repo`" in rows["github"]
    assert "JSON key" in rows["google"]
    assert "asks for Instance" in rows["servicenow"]
    assert "endpoints are discovered" in rows["linear_mcp"]
    assert "Service account: `https://graph.microsoft.com/.default`" in rows["microsoft_graph"]


def test_the_command_prints_and_writes(tmp_path: Path, settings: Any) -> None:
    out = StringIO()
    call_command("provider_table", stdout=out)
    assert "| `github` |" in out.getvalue()
    (tmp_path / "docs").mkdir()
    document = tmp_path / "docs" / "providers.md"
    document.write_text(with_table(DOCUMENT.read_text(), {"github": catalogue()["github"]}))
    settings.BASE_DIR = tmp_path
    call_command("provider_table", "--write", stdout=StringIO())
    assert document.read_text() == DOCUMENT.read_text()


def test_a_document_without_the_marks_is_left_alone(tmp_path: Path, settings: Any) -> None:
    (tmp_path / "docs").mkdir()
    document = tmp_path / "docs" / "providers.md"
    document.write_text("# Nothing here\n")
    settings.BASE_DIR = tmp_path
    with pytest.raises(CommandError, match="where the table belongs"):
        call_command("provider_table", "--write", stdout=StringIO())
    assert document.read_text() == "# Nothing here\n"
    with pytest.raises(NoTable):
        with_table("x", {})
