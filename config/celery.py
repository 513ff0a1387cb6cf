"""Celery application: tasks are idempotent wake-ups, the database holds the work."""

import os
import warnings
from typing import Any

from celery import Celery
from celery.signals import beat_init, celeryd_init, setup_logging, worker_ready, worker_shutting_down

from config import embedded_broker, own_wake
from config.supervisor.lifeline import watch_lifeline

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# It warns of root because of pickled messages; ours are JSON, and nothing else is accepted.
warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")

embedded_broker.use()
app = Celery("grantry")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def keep_our_logging(**_kwargs: Any) -> None:
    """Leave logging as settings.LOGGING has it; Celery's own set-up would drop redaction and request ids."""


# Not at import: every Django process imports this module, and the lifeline is for the process that it was handed to.
@celeryd_init.connect
@beat_init.connect
def stop_with_our_supervisor(**_kwargs: Any) -> None:
    """A worker or beat of `manage.py up` stops when that is gone, however it went."""
    watch_lifeline()


@worker_ready.connect
def look_for_due_tokens(sender: Any, **_kwargs: Any) -> None:
    """All worker processes share the work, also while the broker is away."""
    own_wake.look_by_itself(sender.pool)


@worker_shutting_down.connect
def stop_claiming(**_kwargs: Any) -> None:
    """On SIGTERM a batch finishes the calls under way, stores them, and gives the rest back."""
    from integrations.connections.stopping import THIS_PROCESS  # not before Django is set up

    THIS_PROCESS.begin()


@worker_ready.connect
def store_what_was_kept(**_kwargs: Any) -> None:
    """Answers in files are stored whether or not a wake-up comes to this worker."""
    from integrations.connections import spool_watch

    spool_watch.watch()
