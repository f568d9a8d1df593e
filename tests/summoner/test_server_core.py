"""The relay's pure parts: framing, wrapping, the outbox, rate limits and quarantine."""

import json
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from summoner.server.frames import FrameEncoder, split_frames
from summoner.server.framing import LineFramer
from summoner.server.outbox import Outbox
from summoner.server.policies import Quarantine, RateLimiter
from summoner.server.settings import Pause, RelaySettings

ADDRESS = "127.0.0.1:51742"
LIMIT = 8

# Text as it may stand on one line: anything but a newline that UTF-8 can express.
line_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=30)
byte_streams = st.lists(st.sampled_from([b"\n", b"\r", b"a", b"bc", "é".encode(), b"x" * 9, b"\0"])).map(
    b"".join
)


def chunked(data: bytes, cuts: list[int]) -> list[bytes]:
    borders = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[begin:end] for begin, end in pairwise(borders)]


def heard(chunks: list[bytes], limit: int) -> list[str]:
    """All lines of a stream that are at most `limit` bytes long, the unterminated tail included."""
    framer = LineFramer(limit)
    received = [*map(framer.feed, chunks), framer.finish()]
    return [line for some in received for line in some.lines if len(line.encode()) <= limit]


# Framing


@given(byte_streams, st.lists(st.integers(0, 1000)))
def test_any_chunking_gives_the_same_lines(stream: bytes, cuts: list[int]) -> None:
    expected = stream.decode().removesuffix("\n").split("\n") if stream else []
    expected = [line.removesuffix("\r") for line in expected]
    assert heard(chunked(stream, cuts), limit=1000) == expected


@given(byte_streams, st.lists(st.integers(0, 1000)))
def test_lines_too_long_are_left_out_however_the_stream_is_chunked(stream: bytes, cuts: list[int]) -> None:
    whole = stream.decode().removesuffix("\n").split("\n") if stream else []
    # A carriage return counts while the end of its line is not in sight: such a line may be left out or not.
    clearly_short = [line.removesuffix("\r") for line in whole if len(line.encode()) <= LIMIT]
    lines = heard(chunked(stream, cuts), LIMIT)
    remaining = iter(lines)
    assert all(line in remaining for line in clearly_short)
    assert all(len(line.encode()) <= LIMIT for line in lines)


@given(st.lists(line_text), st.lists(st.integers(0, 1000)))
def test_memory_between_chunks_is_bounded_by_the_limit(lines: list[str], cuts: list[int]) -> None:
    framer = LineFramer(LIMIT)
    for chunk in chunked("\n".join(lines).encode(), cuts):
        if framer.feed(chunk).invalid:
            return
        assert len(framer._tail) <= LIMIT


def test_a_line_without_end_is_reported_once_and_skipped_up_to_its_newline() -> None:
    framer = LineFramer(LIMIT)
    assert framer.feed(b"one\n12345678") == (["one"], 0, False)
    assert framer.feed(b"9") == ([], 1, False)
    assert framer.feed(b"still the same line") == ([], 0, False)
    assert framer.feed(b"and here it ends\ntwo\nthr") == (["two"], 0, False)
    assert framer.feed(b"ee\n") == (["three"], 0, False)


def test_the_rest_of_a_skipped_line_is_no_tail() -> None:
    framer = LineFramer(LIMIT)
    framer.feed(b"123456789")
    framer.feed(b"abc")
    assert framer.finish() == ([], 0, False)


def test_lines_before_invalid_utf8_are_handed_out() -> None:
    assert LineFramer(LIMIT).feed(b"one\ntwo\nth\xffree\nfour\n") == (["one", "two"], 0, True)
    framer = LineFramer(LIMIT)
    assert framer.feed(b"one\nhalf \xc3") == (["one"], 0, False)
    assert framer.finish() == ([], 0, True)


def test_a_character_cut_by_chunks_is_whole_again() -> None:
    framer = LineFramer(LIMIT)
    framer.feed(b"caf\xc3")
    assert framer.feed(b"\xa9\n").lines == ["café"]


# Wrapping


@given(st.lists(line_text, min_size=1))
@example(["\0", "\x1f\x7f\x85", '"\\/\b\f\t\r', "\u2028\u2029", "😀", '{"content":"x"}', ""])
def test_a_frame_gives_back_the_text_it_wraps(lines: list[str]) -> None:
    joined, sent = FrameEncoder(ADDRESS, 65_536).encode(lines)
    frames = split_frames(joined)
    assert sent == lines
    assert all(frame.endswith(b"\n") and frame.count(b"\n") == 1 for frame in frames)
    assert [json.loads(frame) for frame in frames] == [
        {"content": line, "remote_addr": ADDRESS} for line in lines
    ]


def test_a_frame_has_the_bytes_of_the_native_relay() -> None:
    encoder = FrameEncoder(ADDRESS, 65_536)
    assert encoder.encode(["hello"])[0] == b'{"content":"hello","remote_addr":"127.0.0.1:51742"}\n'
    typed = '{"_version": "1.3.0", "_payload": "café", "_type": "str"}'
    assert (
        encoder.encode([typed])[0]
        == (
            r'{"content":"{\"_version\": \"1.3.0\", \"_payload\": \"café\", \"_type\": \"str\"}",'
            '"remote_addr":"127.0.0.1:51742"}\n'
        ).encode()
    )


@given(st.lists(line_text, min_size=1), st.integers(40, 300))
def test_exactly_the_frames_within_the_limit_are_sent(lines: list[str], limit: int) -> None:
    each = [(FrameEncoder(ADDRESS, 65_536).encode([line])[0], line) for line in lines]
    fitting = [(frame, line) for frame, line in each if len(frame) <= limit]
    joined, sent = FrameEncoder(ADDRESS, limit).encode(lines)
    assert list(sent) == [line for _, line in fitting]
    assert joined == b"".join(frame for frame, _ in fitting)


def test_escapes_count_towards_the_length_of_a_frame() -> None:
    around = len(FrameEncoder(ADDRESS, 65_536).encode([""])[0])
    for text, length in (("\0", 6), ('"', 2), ("é", 2), ("😀", 4), ("a", 1)):
        encoder = FrameEncoder(ADDRESS, around + 10 * length)
        assert encoder.encode([text * 10, text * 11])[1] == [text * 10]


# The outbox


@given(st.lists(st.tuples(st.sampled_from([b"a\n", b"bb\n", b"c\ndd\n"]), st.integers(0, 9))))
def test_an_outbox_keeps_order_and_its_bound(steps: list[tuple[bytes, int]]) -> None:
    outbox = Outbox(max_bytes=10)
    put_in, taken, queued = b"", b"", 0
    for frames, take in steps:
        fits = queued + len(frames) <= 10
        assert outbox.push(frames) is fits
        if fits:
            put_in += frames
            queued += len(frames)
        if take:
            piece = outbox.take(take)
            taken += piece
            queued -= len(piece)
            assert bool(piece) or not queued
    while outbox:
        taken += outbox.take(1)
    assert taken == put_in


def test_a_closing_notice_fits_into_a_full_outbox() -> None:
    outbox = Outbox(max_bytes=2)
    outbox.push(b"a\n")
    outbox.push_last(b"Warning: bye\n")
    assert outbox.take(100) == b"a\nWarning: bye\n"
    assert not outbox


# Policies


def test_a_rate_window_begins_anew_with_the_first_line_a_minute_later() -> None:
    limiter = RateLimiter(3, now=100.0)
    assert limiter.admit(2, now=101.0) == 2
    assert limiter.admit(2, now=159.9) == 1
    assert limiter.admit(5, now=159.9) == 0
    assert limiter.admit(5, now=160.0) == 3
    assert limiter.admit(1, now=219.9) == 0
    assert limiter.admit(1, now=220.0) == 1


def test_a_rate_limit_of_zero_refuses_everything() -> None:
    assert RateLimiter(0, now=0.0).admit(2, now=100.0) == 0


def test_a_quarantined_address_is_let_in_after_the_cooldown() -> None:
    quarantine = Quarantine(cooldown=10.0, cleanup_interval=60.0)
    quarantine.add("1.2.3.4:5", now=0.0)
    assert quarantine.refuses("1.2.3.4:5", now=9.9)
    assert not quarantine.refuses("1.2.3.4:6", now=9.9)
    assert not quarantine.refuses("1.2.3.4:5", now=10.0)


def test_expired_quarantine_entries_are_forgotten() -> None:
    quarantine = Quarantine(cooldown=10.0, cleanup_interval=60.0)
    for second in range(200):
        quarantine.add(f"1.2.3.4:{second}", now=float(second))
        assert len(quarantine._until) <= 10 + 60


@pytest.mark.parametrize(("recipients", "seconds"), [(0, 0), (49, 0), (50, 0.2), (149, 0.2), (150, 1.2)])
def test_the_pauses_that_apply_add_up(recipients: int, seconds: float) -> None:
    settings = RelaySettings(pauses=(Pause(50, 0.2), Pause(150, 1.0)))
    assert settings.pause_after_line(recipients) == seconds
