"""Fail when a test was skipped for a reason that is not expected here."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

# Reasons, as regular expressions, for which a test may be skipped where main is checked: none yet.
EXPECTED: tuple[str, ...] = ()


def unexpected(results: Path) -> list[str]:
    """Name and reason of every skipped test whose reason is not in ``EXPECTED``."""
    found = []
    for case in ET.parse(results).iter("testcase"):
        for skip in case.iter("skipped"):
            reason = skip.get("message", "")
            if not any(re.search(pattern, reason) for pattern in EXPECTED):
                found.append(f"{case.get('classname')}::{case.get('name')}: {reason}")
    return found


if __name__ == "__main__":
    problems = [problem for path in sys.argv[1:] for problem in unexpected(Path(path))]
    for problem in problems:
        sys.stderr.write(f"unexpected skip: {problem}\n")
    sys.exit(bool(problems))
