"""Running for months: launchd, systemd and Procfile set-up."""
