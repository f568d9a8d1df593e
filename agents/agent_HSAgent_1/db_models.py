"""The two tables of the first generation, as this agent keeps them; `handfast inspect` shows them."""

from handfast.adapters.tables import NonceEvent, RoleState

__all__ = ["NonceEvent", "RoleState"]
