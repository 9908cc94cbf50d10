"""Logs as one JSON object a line, on stderr. What clients send is not in them."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

LOGGER = logging.getLogger("dpenet.server")


class JsonLines(logging.Formatter):
    """Formats a record as JSON, with what ``extra={"facts": {...}}`` brings beside it."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(level: str) -> None:
    """Send all logs and warnings to stderr: those of this service and of uvicorn from a level on.

    Of the libraries beneath, what they warn of.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    for name in ("dpenet", "uvicorn.error"):
        logging.getLogger(name).setLevel(level.upper())
