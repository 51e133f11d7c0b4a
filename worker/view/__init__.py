"""The read model: what every screen, `--json` and alert says of the ledger, so that no two of them can disagree.

Functions here read one moment of the ledger and return what JSON has; how that looks is for whoever shows it.
"""
