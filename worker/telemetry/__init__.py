"""Logging, redaction, Sentry, metrics."""
