"""Version 2's handshakes and sessions: pure objects; time and random bytes are arguments.

`suites`, `negotiation` what is agreed on · `parties` who takes part · `responder`, `initiator` the full handshake ·
`resumption` the short one · `schedule` keys · `session`, `generation`, `window` packets and rekeying · `transcript` what
was said.
"""
