"""Setting up and taking away: the configuration, and the service files of each supervisor."""
