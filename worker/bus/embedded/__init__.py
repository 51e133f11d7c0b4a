"""A bus of one's own for a team on one machine: the newest bridge's contract over loopback, stored in SQLite."""
