"""How forwarded lines appear in the relay's log (section 3.7).

The only place where the relay looks into what its clients say, and only for the log: nothing here touches what is
forwarded. The text comes from strangers, so it is made printable first.
"""

import json
import logging
from collections.abc import Sequence
from typing import Any

from summoner.logger import printable
from summoner.utils.json_recovery import RecoveryError, parse


class TrafficLog:
    """Writes forwarded lines to `logger` at INFO; costs one comparison while that level is off.

    With `as_json` a record's message is an object with `content` and `remote_addr`, otherwise text. `keys`, unless
    `None`, reduces lines that are JSON objects: an envelope to `_version` and those keys of `_payload` and `_type`,
    any other object to `{}`. Text that is no object is shown as it is.
    """

    def __init__(self, logger: logging.Logger, as_json: bool, keys: frozenset[str] | None) -> None:
        self._logger = logger
        self._as_json = as_json
        self._keys = keys

    def forwarded(self, address: str, lines: Sequence[str]) -> None:
        """Record lines of the author at `address` that were forwarded."""
        if not self._logger.isEnabledFor(logging.INFO):
            return
        for line in lines:
            content = line if self._keys is None else _reduced(line, self._keys)
            if self._as_json:
                self._logger.info(_ForwardedLine(content=content, remote_addr=address))
            else:
                text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
                self._logger.info("%s: %s", address, printable(text))


class _ForwardedLine(dict[str, Any]):
    """A record that JSON log files hold as an object and everything else shows as compact JSON."""

    def __str__(self) -> str:
        text = json.dumps(self, separators=(",", ":"))
        return text.replace("\x7f", "\\u007f")  # the one control character that JSON lets through


def _reduced(line: str, keys: frozenset[str]) -> Any:
    try:
        value = parse(line)
    except RecoveryError:  # beyond the limits of what we parse
        return line
    if not isinstance(value, dict):
        return line
    reduced = {}
    if "_version" in value and "_payload" in value:
        reduced["_version"] = value["_version"]
        for part in ("_payload", "_type"):
            tree = value.get(part)
            if isinstance(tree, dict):
                reduced[part] = {key: item for key, item in tree.items() if key in keys}
    return reduced
