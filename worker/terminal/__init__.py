"""Text into a terminal agent: preamble, panes, profiles, submitting and proving it."""
