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

# An offer names what an agent can do; nobody has more to name.
OFFER_VERSIONS = 16
OFFER_SUITES = 32

# A certificate is some 500 bytes, a rotation statement some 400, of which a chain has at most 8; a handshake message of
# post-quantum keys and both still fits into a line twice over.
CERTIFICATE_BYTES = 4 * 1024
ROTATIONS_BYTES = 8 * 1024
HANDSHAKE_BYTES = 16 * 1024

# A message of one conversation carries a DATA frame, a rekeying, a CLOSE and a few short ones.
FRAMES = 16

# What one DATA frame holds: padding adds an eighth at most, and new keys, a CLOSE and a revocation list find room beside it.
DATA_BYTES = 32 * 1024

# The name of a deployment stands in every prologue; nobody needs a longer one.
NETWORK_CHARACTERS = 64

# Version 2's sessions (v2-handshake.md, section 8.1): when new keys are agreed on, and when nothing more is sent. The
# messages of a generation are so few that the bounds of its cipher (2**36 forgeries) are out of reach.
GENERATION_MESSAGES_SOFT = 1_000
GENERATION_MESSAGES = 1_500
GENERATION_SECONDS_SOFT = 15 * 60
GENERATION_SECONDS = 30 * 60
OLD_GENERATION_SECONDS = 30
SESSION_SECONDS_SOFT = 20 * 3_600
SESSION_SECONDS = 24 * 3_600
