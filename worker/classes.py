"""What a sender says a message is for."""

from typing import Literal, get_args

MessageClass = Literal["terminal-log", "actionable", "human", "reaction"]
CLASSES: tuple[MessageClass, ...] = get_args(MessageClass)
DEFAULT_CLASS: MessageClass = "actionable"  # an absent class: the agent still sees it
LOGGED_CLASS: MessageClass = "terminal-log"  # goes to no transport unless one asks for it
