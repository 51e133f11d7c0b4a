"""The truth: messages, deliveries and attempts in SQLite."""
