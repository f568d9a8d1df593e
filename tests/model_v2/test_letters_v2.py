"""That the checker of letters (letters_v2.py) fails when one of the things that reliable delivery rests on is taken away.

The shipped table with letters is explored in test_model_v2.py, among the other bounds.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from book import SIDES
from explore_v2 import explore
from letters_v2 import LetterExplorer
from moves_v2 import Bounds
from search import Successor, World

from handfast.adapters.memory_mail import MemoryMailbox
from handfast.conversation.packets import Received
from handfast.conversation.turn import Turn
from handfast.conversation.v2 import mail
from handfast.mail import LettersDelivered, LettersSent, MailEffect, Settled


class _SendsBeforeItCommits(LetterExplorer):
    """A process may end when its answer has left and nothing of it is written down yet."""

    def _successors(self, world: World) -> Iterator[Successor]:
        yield from super()._successors(world)
        if world.crashes == self.bounds.crashes:
            return
        for side in SIDES:
            restart = self._moves.restart(side, world[side])
            for move in self._moves.deliveries(side, world[side], world.sent):
                said = world._replace(sent=world.sent | move.sent, crashes=world.crashes + 1)
                yield self._moved(said, side, restart), f"{move.label}, and its process ends", ()


def test_an_acknowledgement_that_leaves_before_the_commit_is_found_out() -> None:
    bounds = Bounds(letters=1, crashes=1)
    assert "receipt" in explore(bounds, stop_at="receipt", explorer=_SendsBeforeItCommits).violations


def test_a_letter_that_is_taken_whether_it_was_taken_before_or_not_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shipped = MemoryMailbox.marks
    monkeypatch.setattr(MemoryMailbox, "marks", lambda box, peer_id: replace(shipped(box, peer_id), taken=0))
    bounds = Bounds(handshakes=2, turns=2, letters=1)
    assert "delivery" in explore(bounds, stop_at="delivery").violations


def _believe_every_receipt(turn: Turn, received: Received) -> mail.Standing:
    marks, carried = mail._mailbox(turn).marks(turn.before.peer_id), turn.live.carried
    if received.receipt is not None and carried:
        turn.emit(LettersDelivered(carried))
    return mail.Standing(marks, max(carried, default=0), carried)


def test_a_receipt_that_is_believed_of_another_letter_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "read_receipt", _believe_every_receipt)
    assert "receipt" in explore(Bounds(letters=2, room=1), stop_at="receipt").violations


def test_an_application_that_is_told_two_things_of_a_letter_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def settle_again(box: MemoryMailbox, one: Settled) -> None:
        letters = box._mail.letters[one.peer_id]
        letters[one.number] = replace(letters[one.number], fate=one.fate)

    monkeypatch.setattr(MemoryMailbox, "_settle_now", settle_again)
    assert "told" in explore(Bounds(letters=1, overdue=True), stop_at="told").violations


def test_a_letter_that_was_sent_and_is_said_to_have_expired_unsent_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shipped = MemoryMailbox.apply

    def apply(box: MemoryMailbox, peer_id: str, effect: MailEffect, now: float) -> None:
        if not isinstance(effect, LettersSent):
            shipped(box, peer_id, effect, now)

    monkeypatch.setattr(MemoryMailbox, "apply", apply)
    assert "receipt" in explore(Bounds(letters=1, overdue=True), stop_at="receipt").violations


def test_letters_of_which_the_lowest_is_not_the_first_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = MemoryMailbox._waiting

    def waiting(box: MemoryMailbox, peer_id: str) -> dict[int, object]:
        return dict(sorted(shipped(box, peer_id).items(), reverse=True))

    monkeypatch.setattr(MemoryMailbox, "_waiting", waiting)
    assert "liveness" in explore(Bounds(letters=2), stop_at="liveness").violations


def test_a_message_that_is_delivered_and_not_kept_for_the_application_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(MemoryMailbox, "_keep", lambda *_: None)
    assert "inbox" in explore(Bounds(letters=1), stop_at="inbox").violations


def test_a_letter_that_is_never_sent_again_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = MemoryMailbox.letters

    def never_again(box: MemoryMailbox, peer_id: str, now: float, after: int = 0) -> list[object]:
        sent = box.marks(peer_id).sent
        return [letter for letter in shipped(box, peer_id, now, after) if letter.number > sent]

    monkeypatch.setattr(MemoryMailbox, "letters", never_again)
    assert "liveness" in explore(Bounds(letters=1), stop_at="liveness").violations
