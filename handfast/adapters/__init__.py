"""The edges: what the core's ports look like against a real clock, a real disk and a real database."""
