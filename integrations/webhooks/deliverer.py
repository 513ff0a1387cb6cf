"""A worker's run: notices become deliveries, due deliveries are claimed and sent from threads, answers are settled.

The threads have no database connection. This thread claims only what can be sent at once, within the shares of
`claims`, and settles each answer when it arrives; it looks for new work while slow receivers take their time.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from integrations.clock import Clock, start_clock
from integrations.connections.commits import DatabaseAway, Patience
from integrations.connections.stopping import THIS_PROCESS, Stopping
from integrations.crypto import SealError
from integrations.models import WebhookDelivery
from integrations.webhooks.claims import AT_ONCE, Claim, Shares, claim_due
from integrations.webhooks.fanout import fan_out
from integrations.webhooks.outcomes import SYSTEM_RANDOM, let_go, postpone, settle
from integrations.webhooks.sending import Answer, Message, send

logger = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 1.0
# A run stops taking new work after this long, and when the process is to stop; beat begins the next one.
RUN_SECONDS = 120.0
PATIENCE_SECONDS = 30.0  # with the database, once an answer is there: less than a lease
UNREADABLE = "undecryptable"
UNREADABLE_WORDS = (
    "The signing secret or the URL cannot be decrypted. Ask the operator to restore a key in FERNET_KEYS."
)
UNREADABLE_PAUSE = timedelta(minutes=10)


@dataclass
class Summary:
    """What one run did."""

    made: int = 0
    sent: int = 0
    delivered: int = 0

    def __str__(self) -> str:
        """For the log."""
        return f"{self.made} new, {self.sent} sent, {self.delivered} delivered"


def deliver_webhooks(
    *,
    clock: Clock | None = None,
    patience: Patience | None = None,
    rng: random.Random = SYSTEM_RANDOM,
    monotonic: Callable[[], float] = time.monotonic,
    stopping: Stopping = THIS_PROCESS,
) -> Summary:
    """Fan out, then send until nothing is due or the process is to stop.

    Raises DatabaseAway when an answer cannot be written in time. What was sent then is sent again once its lease has
    run out, under the same `webhook-id`.
    """
    clock = clock or start_clock()
    patience = patience or Patience(PATIENCE_SECONDS, stopping=stopping)
    run = _Run(clock, patience, rng, monotonic() + RUN_SECONDS, monotonic, stopping)
    run.go()
    return run.summary


@dataclass
class _Run:
    clock: Clock
    patience: Patience
    rng: random.Random
    until: float
    monotonic: Callable[[], float]
    stopping: Stopping
    summary: Summary = field(default_factory=Summary)
    shares: Shares = field(default_factory=Shares)
    in_flight: dict[Future[Answer], Claim] = field(default_factory=dict)

    def go(self) -> None:
        try:
            while self._take_work() or self.in_flight:
                if self.in_flight:
                    done, _ = wait(self.in_flight, timeout=LOOK_AGAIN_SECONDS, return_when=FIRST_COMPLETED)
                    self._settle(done)
        finally:
            # Whatever ends the run, an answer that is on its way is worth writing down.
            if self.in_flight:
                done, _ = wait(self.in_flight)
                self._settle(done)

    def _take_work(self) -> bool:
        """Claim and send what there is room for; whether there was any."""
        if self.stopping or self.monotonic() >= self.until:
            return False
        now = self.clock.now()
        made = fan_out(now)
        self.summary.made += made
        claims = claim_due(self.shares, now)
        messages = _messages(claims, now)
        for claim in claims:
            message = messages.get(claim)
            if isinstance(message, Message):
                self.summary.sent += 1
                self.in_flight[_pool().submit(send, message, self.clock.now())] = claim
                continue
            if message is None:
                let_go(claim)
            else:
                postpone(claim, now + UNREADABLE_PAUSE, UNREADABLE, UNREADABLE_WORDS)
            self.shares.give_back(claim)
        return bool(claims) or made > 0

    def _settle(self, done: Iterable[Future[Answer]]) -> None:
        away: DatabaseAway | None = None
        for future in done:
            claim = self.in_flight.pop(future)
            self.shares.give_back(claim)
            try:
                answer = future.result()
                written = self.patience.commit(partial(settle, claim, answer, self.clock.now(), rng=self.rng))
            except DatabaseAway as error:
                away = error  # sent again once its lease has run out; the others' answers may still be written
                continue
            except Exception:
                # Nobody foresaw it. Others are not held up, and this one comes up again when its lease has run out.
                logger.exception("Delivery %s could not be settled.", claim.delivery_id)
                continue
            self.summary.delivered += written and answer.taken
        if away is not None:
            raise away


def _messages(claims: Iterable[Claim], now: datetime) -> dict[Claim, Message | SealError]:
    """What to send; nothing for an endpoint that was disabled or deleted meanwhile, an error where no key opens it."""
    by_id = {claim.delivery_id: claim for claim in claims}
    if not by_id:
        return {}
    found: dict[Claim, Message | SealError] = {}
    rows = WebhookDelivery.objects.filter(pk__in=by_id, endpoint__enabled=True).select_related("endpoint")
    for delivery in rows:
        try:
            found[by_id[delivery.pk]] = message_of(delivery, now)
        except SealError as error:
            found[by_id[delivery.pk]] = error
    return found


def message_of(delivery: WebhookDelivery, now: datetime) -> Message:
    """What to send for a delivery whose endpoint is loaded. Raises SealError."""
    endpoint = delivery.endpoint
    return Message(str(endpoint.url), delivery.event_id, delivery.body, tuple(endpoint.signing_secrets(now)))


# --- the pool -------------------------------------------------------------------------------------------
_pool_lock = threading.Lock()
_executor: ThreadPoolExecutor | None = None


def _pool() -> ThreadPoolExecutor:
    """As many threads as may be in flight: nothing that was claimed waits for one. They never touch the database."""
    global _executor
    with _pool_lock:
        if _executor is None:
            _executor = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="webhook")
        return _executor
