"""Who speaks for which id, as far as lines tell: what directed delivery goes by. Pure.

Participants of many rooms name themselves in their payloads (`from`) and whom they address (`to`). A relay that is told
to (`RelaySettings.directed_delivery`) reads these two members and hands a line to its addressee alone. Nothing here proves
anything: whenever it is not clear who is meant, everybody hears the line, as without the setting.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

from summoner.utils.json_recovery import RecoveryError, parse

MOST_IDS = 16
"""Ids that one member may speak for. Whoever speaks for more may speak for anybody, and hears everything."""

LONGEST_ID = 128
"""Characters of an id that is remembered."""

LONGEST_PARSED_LINE = 65_536
"""Characters of a line that is looked into."""

Member = TypeVar("Member", bound=Hashable)


class Directory(Generic[Member]):
    """The ids of everybody in a room, in memory bounded by the number of members.

    A member that has named no id yet may be the owner of any: it hears everything, like one that has named too many.
    """

    def __init__(self) -> None:
        self.hearing_all: dict[Member, None] = {}
        """Members that get every line, whoever it is for; in order of arrival."""
        self._ids: dict[Member, set[str] | None] = {}  # None: too many
        self._speakers: dict[str, set[Member]] = {}

    def join(self, member: Member) -> None:
        """Take in a new member."""
        self._ids[member] = set()
        self.hearing_all[member] = None

    def leave(self, member: Member) -> None:
        """Forget a member and what it said of itself."""
        self._forget_ids(member)
        self.hearing_all.pop(member, None)

    def addressee(self, author: Member, line: str) -> Member | None:
        """The only member, other than its author, that a line can be for; `None` where that is not clear.

        Learns from the line for which id its author speaks.
        """
        sender, to = _sender_and_addressee(line)
        if sender is not None:
            self._learn(author, sender)
        speakers = self._speakers.get(to) if to is not None else None
        if speakers is None or len(speakers) > 1 or author in speakers:
            return None
        return next(iter(speakers))

    def _learn(self, member: Member, sender: str) -> None:
        ids = self._ids.get(member)
        if ids is None or sender in ids:
            return  # it has left or names too many, or this is nothing new
        if len(ids) == MOST_IDS:
            self._forget_ids(member)
            self._ids[member] = None
            self.hearing_all[member] = None
            return
        ids.add(sender)
        self._speakers.setdefault(sender, set()).add(member)
        self.hearing_all.pop(member, None)

    def _forget_ids(self, member: Member) -> None:
        for sender in self._ids.pop(member, None) or ():
            speakers = self._speakers[sender]
            speakers.discard(member)
            if not speakers:
                del self._speakers[sender]


def _sender_and_addressee(line: str) -> tuple[str | None, str | None]:
    """`from` and `to` of the payload in an envelope (section 2.2), each `None` where it is no usable id."""
    if len(line) > LONGEST_PARSED_LINE:
        return None, None
    try:
        envelope = parse(line)
    except RecoveryError:
        return None, None
    payload = envelope.get("_payload") if isinstance(envelope, dict) else None
    if not isinstance(payload, dict):
        return None, None
    sender, to = payload.get("from"), payload.get("to")
    return _as_id(sender), _as_id(to)


def _as_id(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= LONGEST_ID else None
