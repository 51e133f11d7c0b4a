"""What a sender says a message is for."""

CLASSES = ("terminal-log", "actionable", "human", "reaction")
DEFAULT_CLASS = "actionable"  # an absent class: the agent still sees it
LOGGED_CLASS = "terminal-log"  # goes to no transport unless one asks for it
