"""The conversation as a table: (role, state, event) -> guard, effects, next state. No state changes anywhere else."""
