"""Set-up for supervisors (systemd, launchd, Procfile), its undoing, what they hear from the worker, and `doctor`."""
