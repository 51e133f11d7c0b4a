"""The names of the ways into an agent, and the order in which they are tried. Imports nothing: `--help` has them."""

TYPE = "type"
OWN_TURN = ("codex",)
"""Channels whose message is the user's own turn. A channel is called as its agent's profile is."""
CHANNELS = OWN_TURN
VIA = ("auto", "native", TYPE, *CHANNELS)


def links(agent: str, via: str) -> list[str]:
    """The links to try for the agent, in their order.

    Args:
        agent: its profile's name.
        via: one of VIA.
    """
    native = [agent] if agent in CHANNELS else []
    if via == TYPE:
        return [TYPE]
    if via in CHANNELS:
        return [via] if via == agent else []
    return native if via == "native" else [*native, TYPE]
