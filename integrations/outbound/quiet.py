"""Keeps the loggers of the HTTP and OAuth libraries from printing secrets.

At DEBUG they print tokens, client secrets and whole answers, and urllib3 warns with full URLs. A level is lowered
by the next logging configuration, or by somebody looking for something else; a filter on the logger stays.
"""

from __future__ import annotations

import logging

TALKATIVE = ("oauthlib", "requests_oauthlib", "urllib3", "requests", "requests_hardened")


class ErrorsOnly(logging.Filter):
    """Drops every record below ERROR, whatever the levels say."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep errors."""
        return record.levelno >= logging.ERROR


_FILTER = ErrorsOnly()


def silence_talkative_loggers() -> None:
    """Put the filter on every logger of these libraries; call it once they are imported.

    A logger's filter does not see the records of its children, so that each logger needs it.
    """
    known = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in TALKATIVE]
    for name in {*TALKATIVE, *known}:
        # Adding the same filter twice changes nothing.
        logging.getLogger(name).addFilter(_FILTER)
