"""`handfast simulate`: small fleets for real, and the parts that count, check and draw."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handfast.cli.simulate import chart
from handfast.cli.simulate.known_peers import cost_with
from handfast.cli.simulate.listener import Listener
from handfast.cli.simulate.relay import CountingRelay
from handfast.cli.simulate.resources import use_of
from handfast.cli.simulate.results import Ledger, Result, percentiles
from handfast.errors import UsageError
from summoner.protocol.payload import wrap_with_types
from summoner.server.connection import Connection

SIMULATE = [sys.executable, "-m", "handfast.cli", "simulate"]
SVG = "{http://www.w3.org/2000/svg}"


def environment(directory: Path) -> dict[str, str]:
    """Ours, with temporary files where the test can look for what is left of them, and no colours."""
    plain = {name: value for name, value in os.environ.items() if name not in {"FORCE_COLOR", "COLUMNS"}}
    return plain | {"TMPDIR": str(directory), "PYTHONIOENCODING": "utf-8"}


def simulate(directory: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SIMULATE, *flags],
        env=environment(directory),
        cwd=directory,
        capture_output=True,
        encoding="utf-8",
        timeout=55,
        check=False,
    )


@pytest.mark.parametrize(
    "flags",
    [(), ("--in-one-process",), ("--in-one-process", "--directed")],
    ids=["processes", "one process", "directed"],
)
def test_a_small_fleet_closes_all_its_pairs_and_leaves_nothing_behind(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    report, plot = tmp_path / "report.json", tmp_path / "plot.svg"
    ran = simulate(files, "--agents", "2,3", *flags, "--json", str(report), "--plot", str(plot))
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout + ran.stderr
    assert "6/6" in ran.stdout
    assert "\x1b" not in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 80
    told = json.loads(report.read_text(encoding="utf-8"))
    assert told["flags"]["in_one_process"] is bool(flags)
    assert told["flags"]["directed"] is ("--directed" in flags)
    two, three = told["runs"]
    assert (two["pairs"], three["pairs"], three["pairs_expected"]) == (2, 6, 6)
    assert three["conversations"] >= 6
    assert three["intents"]["confirm"] >= 6
    assert len(three["closings"]) == 6
    assert three["problems"] == []
    assert three["deliveries"] > three["lines"] == sum(three["intents"].values())
    assert three["latency"].keys() == {"p50", "p90", "p99", "max"}
    assert len(ET.parse(plot).getroot().findall(f".//{SVG}polyline")) == 4
    assert os.listdir(files) == []


def test_pairs_that_do_not_close_in_time_fail_the_run_and_are_named(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    flags = [
        "--agents",
        "2",
        "--in-one-process",
        "--loss",
        "0.95",
        "--minutes",
        "0.05",
        "--json",
        str(report),
    ]
    ran = simulate(tmp_path, *flags)
    assert ran.returncode == 1
    assert "2 agents: 2 of 2 pairs did not close" in ran.stderr
    assert "Traceback" not in ran.stderr
    run = json.loads(report.read_text(encoding="utf-8"))["runs"][0]
    assert run["pairs"] == 0
    assert run["lost"] > 0
    assert run["problems"]


@contextmanager
def running(directory: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A fleet of two that can never close, and its relay and crowd; all of them are ended in any case."""
    flags = ["--agents", "2", "--in-one-process", "--loss", "0.95"]
    children: list[psutil.Process] = []
    with subprocess.Popen(
        [*SIMULATE, *flags],
        env=environment(directory),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        try:
            while process.poll() is None and len(children) < 2:
                children = psutil.Process(process.pid).children()
            yield process, children
        finally:
            process.kill()
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()


def test_an_agent_that_ends_fails_the_run(tmp_path: Path) -> None:
    with running(tmp_path) as (process, children):
        crowd = next(child for child in children if not is_relay(child))
        crowd.kill()
        _, err = process.communicate(timeout=40)
    assert process.returncode == 1
    assert "the crowd ended with status -9" in err
    assert os.listdir(tmp_path) == []


def test_a_run_that_is_terminated_ends_its_children(tmp_path: Path) -> None:
    with running(tmp_path) as (process, children):
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=40)
        assert process.returncode == 128 + signal.SIGTERM
        assert "Traceback" not in err
        assert not any(child.is_running() for child in children)
    assert os.listdir(tmp_path) == []


def is_relay(process: psutil.Process) -> bool:
    return any(part.endswith("relay.py") for part in process.cmdline())


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "--agents N"),
        (("--agents", "1"), "from 2 to 200"),
        (("--agents", "4,,8"), "from 2 to 200"),
        (("--agents", "4,99999999999999999999"), "from 2 to 200"),
        (("--agents", "4", "--loss", "1"), "--loss"),
        (("--agents", "4", "--plot", "scale.jpg"), ".svg or .png"),
        (("--known-peers", "10", "--plot", "scale.svg"), "--agents"),
        (("--known-peers", "-1"), "--known-peers"),
        (("--agents", "4", "--minutes", "nan"), "'nan' is not a number"),
        (("--agents", "4", "--json", "nowhere/scale.json"), "cannot be written there"),
        (("--agents", "4", "--plot", "nowhere/scale.svg"), "cannot be written there"),
    ],
)
def test_flags_that_cannot_be_meant_are_one_line(tmp_path: Path, flags: tuple[str, ...], says: str) -> None:
    ran = simulate(tmp_path, *flags)
    assert ran.returncode == 2
    assert says in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_png_without_the_library_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cairosvg", None)
    chart.check_plot(Path("scale.svg"))
    with pytest.raises(UsageError, match="PNG needs the package cairosvg"):
        chart.check_plot(Path("scale.png"))


# ---- counting -----------------------------------------------------------------------------------------------------


def closed(ledger: Ledger, agent: str, role: str, peer: str, at: float) -> None:
    ledger.event(agent, {"event": "closed", "t": at, "role": role, "peer": peer})


def test_a_pair_counts_when_both_sides_have_closed_it_and_only_once() -> None:
    ledger = Ledger(2)
    for agent in ("a", "b"):
        ledger.event(agent, {"event": "started", "t": 1.0})
    ledger.confirmed("a", "b", 2.0)
    ledger.confirmed("a", "b", 2.5)
    closed(ledger, "a", "initiator", "b", 3.0)
    assert ledger.closed == {}
    closed(ledger, "b", "responder", "a", 3.25)
    closed(ledger, "a", "initiator", "b", 9.0)
    closed(ledger, "b", "responder", "a", 9.5)
    assert ledger.closed == {("a", "b"): 3.25}
    assert ledger.latencies() == [1.25]
    assert ledger.conversations == 2
    assert ledger.missing() == [("b", "a")]
    assert not ledger.is_complete
    closed(ledger, "b", "initiator", "a", 4.0)
    closed(ledger, "a", "responder", "b", 4.0)
    assert ledger.is_complete


def test_refusals_are_counted_by_reason() -> None:
    ledger = Ledger(2)
    for reason in ("hs_stale", "hs_stale", "plaintext"):
        ledger.event("a", {"event": "refused", "t": 1.0, "peer": "b", "reason": reason})
    assert ledger.refused == {"hs_stale": 2, "plaintext": 1}


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_percentiles_are_values_and_rise(values: list[float]) -> None:
    found = percentiles(sorted(values))
    assert [*found.values()] == sorted(found.values())
    assert set(found.values()) <= set(values)
    assert found["max"] == max(values)


def test_percentiles_are_the_nearest_ranks() -> None:
    assert percentiles([*range(1, 101)]) == {"p50": 50, "p90": 90, "p99": 99, "max": 100}
    assert percentiles([]) == {}


# ---- listening ----------------------------------------------------------------------------------------------------


def heard(*contents: Any) -> Listener:
    listener = Listener("the secret", lambda *_: None)
    for content in contents:
        listener.hear(json.dumps({"content": wrap_with_types(content).strip(), "remote_addr": "x"}), 1.0)
    return listener


@pytest.mark.parametrize(
    "content",
    [
        {"intent": "request", "sec": {}, "other": "it is the secret that counts"},
        {"intent": "request", "message": "hello"},
        {"intent": "respond", "sec": {}, "message": "hello"},
        {"intent": "respond"},
        "hello",
    ],
)
def test_a_readable_line_is_found(content: Any) -> None:
    assert heard({"intent": "register"}, content, {"intent": "request", "sec": {}}).plaintext == 1


def test_sealed_lines_and_the_relays_own_are_no_plaintext() -> None:
    listener = heard({"intent": "register"}, {"intent": "respond", "sec": {}}, {"intent": "close"})
    listener.hear("Warning: you are too fast", 1.0)
    assert (listener.lines, listener.plaintext, listener.notices) == (3, 0, 1)
    assert listener.intents == {"register": 1, "respond": 1, "close": 1}


def test_a_confirm_is_told_with_its_initiator_first() -> None:
    told: list[tuple[str, str, float]] = []
    listener = Listener("the secret", lambda *what: told.append(what))
    content = {"intent": "confirm", "from": "responder", "to": "initiator"}
    listener.hear(json.dumps({"content": wrap_with_types(content), "remote_addr": "x"}), 2.0)
    assert told == [("initiator", "responder", 2.0)]


# ---- losing -------------------------------------------------------------------------------------------------------


async def carried(loss: float, seed: int) -> tuple[dict[str, int], list[list[bytes]]]:
    """What a relay counted, and what its first client and a later one got of 300 lines of a third."""
    relay = CountingRelay(loss, seed)
    await relay.start("127.0.0.1", 0)
    clients, nobody = [], Connection(relay)
    async with asyncio.timeout(20):
        for _ in range(3):
            clients.append(await asyncio.open_connection("127.0.0.1", relay.port))
            while relay.recipients_of(nobody) < len(clients):  # noqa: ASYNC110  # no event tells it
                await asyncio.sleep(0)
        author = clients[2][1]
        author.write(b"".join(b"line %d\n" % i for i in range(300)))
        author.write_eof()
        await clients[2][0].read()
        await relay.close()
        got = [(await reader.read()).splitlines() for reader, _ in clients[:2]]
        for _, writer in clients:
            writer.close()
            await writer.wait_closed()
    # without the address of their author, which differs from run to run
    return relay.counts, [[line.split(b",")[0] for line in lines if b'"line' in line] for lines in got]


async def test_a_lossy_relay_loses_a_share_but_nothing_of_the_listener() -> None:
    counts, (listener, other) = await carried(0.5, seed=1)
    assert counts["lines"] == 300
    assert len(listener) == 300
    assert 0 < len(other) < 300
    assert counts["lost"] >= 300 - len(other)
    assert (await carried(0.5, seed=1))[1][1] == other
    assert (await carried(0.5, seed=2))[1][1] != other


async def test_without_loss_the_relay_loses_nothing_and_counts_everything() -> None:
    counts, got = await carried(0.0, seed=1)
    assert counts["lost"] == 0
    assert [len(lines) for lines in got] == [300, 300]
    assert counts["deliveries"] >= 600
    assert counts["bytes"] > 300 * len(b"line 1")


# ---- measuring and drawing ----------------------------------------------------------------------------------------


async def test_the_cost_of_a_message_is_measured_with_peers_in_the_database(tmp_path: Path) -> None:
    cost = await cost_with(40, tmp_path)
    assert cost.peers == 40
    assert min(cost.message, cost.first_register, cost.later_register) > 0
    (path,) = await asyncio.to_thread(lambda: [*tmp_path.glob("HSAgent-*.db")])
    with closing(sqlite3.connect(path)) as database:
        counted = [
            database.execute(f"SELECT count(*) FROM {rows}").fetchone()[0]
            for rows in (
                "role_state WHERE version = 2 AND sealed_ticket IS NOT NULL",
                "identity_pin",
                "audit WHERE event = 'closed'",
                "audit WHERE event = 'session' AND detail LIKE '%\"version\": 2%'",
            )
        ]
    # the 40, and 25 newcomers with whom a conversation in either direction was led to its end
    assert counted == [2 * 65, 65, 2 * 25, 2 * 25]


def test_what_a_process_uses_is_read_from_proc(tmp_path: Path) -> None:
    directory = tmp_path / "7"
    directory.mkdir()
    ticks = os.sysconf("SC_CLK_TCK")
    (directory / "stat").write_text(f"7 (a (strange) name) S {' '.join('0' * 10)} {2 * ticks} {ticks} 0\n")
    (directory / "status").write_text("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1024 kB\n")
    use = use_of(7, tmp_path)
    assert use is not None
    assert (use.cpu_seconds, use.memory_bytes, use.peak_bytes) == (3.0, 1024 * 1024, 2048 * 1024)
    assert use_of(8, tmp_path) is None
    (directory / "status").write_text("Name:\tx\n")
    assert use_of(7, tmp_path) is None


@given(st.floats(1e-6, 1e9))
def test_ticks_begin_at_zero_and_just_reach_the_largest(largest: float) -> None:
    found = chart.ticks(largest)
    assert found[0] == 0
    assert found[-1] >= largest * (1 - 1e-6)
    assert found[-2] < largest
    assert 3 <= len(found) <= 8


def result(agents: int, seconds: float) -> Result:
    counts = dict.fromkeys(("lines", "deliveries", "bytes", "lost", "plaintext", "conversations"), 0)
    nothing = dict.fromkeys(
        (
            "agent_cpu",
            "agent_memory_bytes",
            "agent_peak_bytes",
            "fleet_cpu",
            "relay_cpu",
            "relay_memory_bytes",
            "start_seconds",
        )
    )
    pairs = agents * (agents - 1)
    return Result(
        agents=agents,
        problems=[],
        pairs=pairs,
        pairs_expected=pairs,
        seconds=seconds,
        seconds_after_start=seconds / 2,
        conversations_per_second=1.0,
        latency={},
        intents={},
        refused={},
        closings=[seconds * (i + 1) / pairs for i in range(pairs)],
        **counts,
        **nothing,
    )


def test_the_picture_shows_every_run_and_both_scale_curves_inside_its_frame() -> None:
    picture = ET.fromstring(chart.svg([result(4, 1.5), result(8, 7.0)]))
    lines = picture.findall(f".//{SVG}polyline")
    points = [[float(n) for n in pair.split(",")] for line in lines for pair in line.attrib["points"].split()]
    assert [len(line.attrib["points"].split()) for line in lines] == [13, 57, 2, 2]
    assert all(0 <= x <= 460 and 0 <= y <= 320 for x, y in points)
    told = {text.text for text in picture.findall(f".//{SVG}text")}
    assert {"4 agents", "8 agents", "from the beginning", "from all started"} <= told


def test_a_picture_of_runs_that_closed_nothing_can_still_be_drawn() -> None:
    nothing = result(2, 1.0)
    failed = Result(
        **{name: getattr(nothing, name) for name in Result.__slots__} | {"pairs": 0, "closings": []}
    )
    ET.fromstring(chart.svg([failed]))
