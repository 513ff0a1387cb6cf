"""Settings to look at the style guide with `runserver`: the test settings, with its routes."""

from __future__ import annotations

from tests.settings import *  # noqa: F403

ROOT_URLCONF = "tests.ui.style_guide"
DEBUG = True
