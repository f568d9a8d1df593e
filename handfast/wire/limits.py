"""Every limit on what comes in or goes out, with its reason."""

# A UUID is 36 characters; nothing else names an agent in v1.
ID_CHARACTERS = 36

# v1 references are 10 digits and ours 32 characters; a peer may choose others, but they are kept in a row.
REFERENCE_CHARACTERS = 128

# ISO 8601 with microseconds and an offset is 32 characters.
TIMESTAMP_CHARACTERS = 40

# A relayed line may be 65,535 bytes (summoner-runtime.md, section 2.7). Base64 makes 4 bytes of 3, and the wrapper, the
# types, an `hs` and the rest of the message take about 2 KiB: a plaintext of 40 KiB fits whatever it holds.
PLAINTEXT_BYTES = 40 * 1024

# What fits into a line of 65,535 bytes as base64, and a little more for relays that allow longer ones.
CIPHERTEXT_BYTES = 64 * 1024

# Deep enough for any message a person would design, far from the parser's own recursion limit.
MESSAGE_DEPTH = 64
