"""Who you are: which keys may speak for an agent id. Pure decisions, closed by default; pins and lists are kept elsewhere.

`v1` decides about signing keys of version 1. `decision` decides about identity keys of version 2, from what `rotation`,
`certificate` and `revocation` have checked.
"""
