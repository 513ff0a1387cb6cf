"""What `manage.py up` settles before settings are read."""

from __future__ import annotations

from pathlib import Path

import environ
import pytest

from config.supervisor.launch import mail_folder_url


@pytest.mark.parametrize("name", ["var", "a b", "x+y", "100%", "a?b#c"])
def test_mails_go_to_a_folder_under_var_whatever_its_name(tmp_path: Path, name: str) -> None:
    config = environ.Env.email_url_config(mail_folder_url(tmp_path / name))
    assert config["EMAIL_FILE_PATH"] == str(tmp_path / name / "mail")
    assert config["EMAIL_BACKEND"].endswith("filebased.EmailBackend")
