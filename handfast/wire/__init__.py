"""From untrusted bytes and JSON to frozen dataclasses and back: strict, with every limit named."""
