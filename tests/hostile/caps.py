"""The caps on what others can make an agent store, compute and write, as the page lists them: their values are the code's."""

from dataclasses import dataclass

import reporting
from handfast import congestion, driver, gatekeeper, outcomes, pairs, ports, proofs
from handfast.conversation import live
from handfast.conversation.model import Settings
from handfast.conversation.v1.parts import TRIES_FOR_STRANGERS
from handfast.wire import limits
from summoner.client import _connection, _settings


@dataclass(frozen=True)
class Cap:
    """One cap.

    Attributes:
        on: what is capped.
        value: how much of it there may be.
        reason: why that much, and what happens beyond.
    """

    on: str
    value: str
    reason: str


def count(number: float) -> str:
    return f"{number:_.10g}".replace("_", " ")


def rate(budget: tuple[float, float]) -> str:
    burst, per_second = budget
    steadily = (
        f"{count(per_second)} a second" if per_second >= 1 else f"one in {count(1 / per_second)} seconds"
    )
    return f"{count(burst)} at once, then {steadily}"


SHIPPED = Settings()
PATIENCE = count(sum(SHIPPED.retry_delays))

CAPS: dict[str, tuple[Cap, ...]] = {
    "What is stored": (
        Cap("half-open conversations with strangers", count(ports.HALF_OPEN_LIMIT), "far more than honest newcomers leave open at once, some hundred kilobytes; the oldest makes room, and known peers have a table of their own"),
        Cap("peers who prove a key for the first time", rate(gatekeeper.NEWCOMERS), "each leaves about a kilobyte for good; more than a fleet on one machine, then less than 9 MB a day. Known peers are not concerned"),
        Cap("turns of one conversation", count(gatekeeper.TURNS_OF_A_CONVERSATION), "its nonces and envelopes are kept until it ends, and v1 leaves the end to the initiator; four are usual. Further requests are passed over, and the conversation ends by its timers"),
        Cap("refusals in the audit log and the log", rate(outcomes.REFUSALS_TOLD), "at most 30 MB a day, with a count of those left out; refusals over who a key belongs to are counted apart, so that noise cannot hide them"),
        Cap("pairs remembered in memory", count(pairs.CACHED_PAIRS), "made-up ids push out the oldest, who are read from the database again"),
        Cap("peers whose presence is remembered", count(reporting.KNOWN_PRESENCES), "at worst one is announced a second time"),
        Cap("events waiting for a slow reader of `--events`", count(reporting.EVENTS_WAITING), "more than a busy agent makes in a minute; then events are dropped, and the log says so"),
        Cap("a line", f"{count(_settings.MAX_BYTES_PER_LINE)} bytes", "what official relays and clients carry; longer ones are skipped in bounded memory"),
        Cap("what a peer's message may hold", f"{count(limits.PLAINTEXT_BYTES)} bytes, {limits.MESSAGE_DEPTH} deep", "what fits into a line, and what no parser minds"),
        Cap("a reference of a peer", f"{count(limits.REFERENCE_CHARACTERS)} characters", "it is kept in a row"),
    ),
    "What is computed and said": (
        Cap("handshakes begun with strangers", rate(gatekeeper.HANDSHAKES_WITH_STRANGERS), "each costs key pairs, a signature and rows; who is not served now registers again in a second"),
        Cap("proofs of strangers that fail", rate(proofs.FAILED_BY_STRANGERS), "each costs a transaction and a signature to verify; then what strangers claim is passed over unseen"),
        Cap("proofs that fail under ids of known peers", rate(proofs.FAILED_BY_KNOWN), "some hundredths of a core; generous, because forgeries look like what the peer really says until they are verified"),
        Cap("the same, each known peer's own share", rate(proofs.FAILED_BY_EACH), "left to each when forgeries under other ids have used up the above; a message that holds costs nothing"),
        Cap("packets that open under a session's keys and are refused all the same, of each peer", rate(proofs.FAILED_IN_SESSION), "each costs a transaction, and nobody but the peer can make them; the same one, which anybody can repeat, is looked at once a second and counted once. Those that do not open cost microseconds and are not counted, so that forgeries under a peer's id cost its session nothing"),
        Cap("`n1` made for offers, and for tickets that are good for nothing", rate(gatekeeper.GREETINGS), "each costs a key pair and, with ML-KEM, another; nothing is kept. Known peers have as many again to themselves. Who is not answered now offers again in a second"),
        Cap("further `n1` answered, where one from the same peer was", rate(gatekeeper.FURTHER_ANSWERS), "each costs a key pair, two key agreements and a line; anybody can say them in a peer's name. Known peers have as many again to themselves"),
        Cap("answers of one peer that are waited for at once", f"{live.ATTEMPTS}", "beyond, one by chance makes room: a single forgery never costs the true one, and a flood has to be lucky"),
        Cap("sessions of one proven peer that wait for a first packet", f"{live.HALVES}", "one for each of its answers and one for a ticket; the oldest makes room"),
        Cap("pairs of version 2 in memory", count(pairs.PAIRS_LIVE), "a few kilobytes each; then those that are there are served first"),
        Cap("conversations begun at once, in each role", f"{congestion.AT_ONCE}", "what is under way anywhere slows down everybody; one that does not move for a moment counts no more, and strangers cannot take the place kept for known peers"),
        Cap("`confirm` sent to a stranger who does not answer", f"{TRIES_FOR_STRANGERS}", "an invented `register` must not make us say much"),
        Cap("the same answer to a repeated message", f"one in {count(SHIPPED.repeat_gap)} seconds", "honest peers repeat more slowly"),
        Cap("sendings of one message", f"{len(SHIPPED.retry_delays)} in {PATIENCE} seconds", "then the pair is ready for a new conversation; only our own timers count, never what a peer says"),
        Cap("timers served in a row", f"{driver.TIMERS_PER_TICK}", "then others have their turn"),
        Cap("the wait between two attempts to find a relay", f"{count(_connection._LONGEST_DELAY_SECONDS)} seconds at most", "from one second, doubled, varied by a quarter; for ever"),
    ),
    "What is logged": (
        Cap("lines of all kinds and levels", rate(reporting.LOG_LINES), "strangers cause less than a hundred a second (newcomers, refusals, handshakes that lead nowhere), so more than half is left to known peers"),
        Cap("newcomers announced", rate(reporting.NEWCOMERS_TOLD), "made-up ids come for free"),
        Cap("lines about the same kind of trouble", f"one in {count(reporting.TROUBLE_EVERY_SECONDS)} seconds", "with a count of those left out; noise, a relay's warnings, a failing database"),
        Cap("an outage of the relay", f"one line in {count(_connection._TOLD_EVERY_SECONDS)} seconds", "said when it begins, now and then, and when it ends"),
    ),
}  # fmt: skip

HEAD = """
## Caps

What others can make an agent store, compute, say and log is capped. The values are the constants of the code. Known peers are
those who have proven the key that is pinned for them.

| what | cap | reason, and what happens beyond |
|---|---|---|
"""


def markdown() -> str:
    """The chapter of the page."""
    rows = [
        f"| {cap.on} | {cap.value} | {cap.reason} |\n"
        for title, caps in CAPS.items()
        for cap in (Cap(f"**{title}**", "", ""), *caps)
    ]
    return HEAD + "".join(rows)
