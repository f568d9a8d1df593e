"""Agents that meet on a relay they do not trust, prove who they are, and talk end-to-end encrypted.

`Dialogue` is what an agent says, `run_agent` runs one; `handfast.driver.Driver` is for those who bring their own I/O.
"""

from handfast.agent_script import run_agent
from handfast.dialogue import Dialogue

__all__ = ["Dialogue", "run_agent"]
