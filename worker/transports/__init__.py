"""Running one argv safely: templates, allowlist, limits; the launcher and its receipts."""
