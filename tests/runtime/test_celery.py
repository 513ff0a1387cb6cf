"""Celery's app: tasks bind to it, and beat's schedule names tasks that exist."""

from __future__ import annotations

from pathlib import Path

from celery import current_app
from django.conf import settings

from integrations import tasks


def test_tasks_bind_to_our_app_in_every_process_that_runs_django() -> None:
    assert tasks.refresh_due.app.main == "grantry"
    assert current_app.main == "grantry"


def test_beat_wakes_only_tasks_that_exist() -> None:
    scheduled = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}

    assert scheduled == {"integrations.refresh_due", "integrations.sweep"}
    assert scheduled <= set(current_app.tasks)


def test_no_wake_up_is_stale_to_a_machine_whose_clock_is_off() -> None:
    """Celery stamps an expiry by the sender's clock and compares it with the worker's."""
    lasts = {name: entry["options"]["expires"] for name, entry in settings.CELERY_BEAT_SCHEDULE.items()}

    assert {name: seconds for name, seconds in lasts.items() if seconds < settings.WAKE_UP_SECONDS} == {}
    assert settings.WAKE_UP_SECONDS >= 3600


def test_results_are_not_kept_and_messages_are_json() -> None:
    assert current_app.conf.task_ignore_result is True
    assert current_app.conf.accept_content == ["json"]
    assert Path(current_app.conf.beat_schedule_filename).parent == settings.VAR_DIR
