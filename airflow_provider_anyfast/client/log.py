"""Log lines that name their subject, wherever in the package they are written."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_subject: ContextVar[str] = ContextVar("anyfast_log_subject", default="")


@contextmanager
def log_about(subject: str) -> Iterator[None]:
    """Prefixes the lines logged in the block with ``subject``, such as the row of a batch; blocks may be nested.

    A thread started in the block keeps the prefix if it runs in a copy of the context.
    """
    outer = _subject.get()
    token = _subject.set(f"{outer}, {subject}" if outer else subject)
    try:
        yield
    finally:
        _subject.reset(token)


def subject_logger(name: str) -> logging.Logger:
    """The logger of a module that works on one of many rows or files without knowing which."""
    logger = logging.getLogger(name)
    logger.addFilter(_name_subject)
    return logger


def _name_subject(record: logging.LogRecord) -> bool:
    if subject := _subject.get():
        record.msg, record.args = f"{subject}: {record.getMessage()}", ()
    return True
