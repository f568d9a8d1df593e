"""What a handshake yields and how it is used: pure functions, one module for each protocol version."""
