"""Real agents, the fake world and the machinery beside them are shared with the neighbouring directories."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
AGENT = TESTS.parent / "agents" / "agent_HSAgent_1"
sys.path[:0] = [str(TESTS / "agent"), str(TESTS / "handfast"), str(TESTS / "hostile"), str(AGENT)]
