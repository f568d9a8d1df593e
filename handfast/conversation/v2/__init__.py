"""The version 2 conversation: `table` is THE table; `responder` and `initiator` hold what its rows do, `parts` what both share."""
