"""The Noise Protocol Framework, revision 34: handshakes out of token tables; time, chance and wire formats stay outside."""
