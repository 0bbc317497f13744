"""Everything that is logged while a task runs, as text and without any masking."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator


LEVEL = logging.INFO


@contextmanager
def captured_log(text: io.StringIO) -> Iterator[None]:
    """Write into ``text`` what structlog and the standard library log from ``LEVEL`` on, tracebacks included.

    Airflow masks known secrets only when it writes its files. Here they are not masked, so that a test can check that
    there are none.
    """
    before = structlog.get_config()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVEL),
        logger_factory=lambda *_: structlog.PrintLogger(text),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(LEVEL)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        structlog.configure(**before)
