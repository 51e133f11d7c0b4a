"""The explicit-state search of docs/protocol.md: every interleaving of a small world. See docs/model.md."""
