"""The bytes and JSON of version 2 (docs/protocol-v2.md): codecs without keys and without state.

`header` what every protected message binds · `offers` what is negotiated · `messages` the shapes of the conversation ·
`payloads` what handshake messages carry inside · `frames` what packets carry inside.
"""
