"""Stand-ins for other people's software, faithful where the project depends on it."""
