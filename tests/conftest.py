"""What tests have to tell besides passing is printed at the end: the property "to be told", also over several processes."""

import signal

import pytest
from hypothesis import Phase, settings

# `make mutants` asks every mutant the same, and has no use for the smallest example
settings.register_profile("mutants", derandomize=True, phases=(Phase.explicit, Phase.generate))

# a shell starts what runs in the background with Ctrl-C ignored, and so would be what the tests start and interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.getreports("passed")
    told = [text for report in reports for name, text in report.user_properties if name == "to be told"]
    if told:
        terminalreporter.section("explored by the model checker")
        for text in sorted(told, key=str):
            terminalreporter.write_line(str(text))
