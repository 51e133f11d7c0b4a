"""The names of the ways into an agent, and the order in which they are tried. Imports nothing: `--help` has them."""

TYPE = "type"
OWN_TURN = ("codex", "opencode", "pi", "copilot")
"""Channels whose message is the user's own turn. A channel is called as its agent's profile is."""
PEER = ("claude", "qwen")
"""Channels whose message reaches the model marked as another session's, without the user's authority."""
CHANNELS = (*OWN_TURN, *PEER)
VIA = ("auto", "native", TYPE, *CHANNELS)
AUTHORITY = ("any", "user", "peer")
NOT_MEASURED = "not as measured: "
"""What the reason of a link begins with that met another version or shape than it knows."""


def no_link(agent: str, via: str, authority: str) -> str:
    """Why `links` has none for the agent."""
    if via in CHANNELS and via != agent:
        return f"the pane runs {agent}, not {via}"
    if agent in PEER and authority == "user":
        return f"what comes by the channel of {agent} has not the user's authority, which this message is to have"
    return f"{agent} has no channel of its own"


def links(agent: str, via: str, authority: str = "any") -> list[str]:
    """The links to try for the agent, in their order.

    Args:
        agent: its profile's name.
        via: one of VIA.
        authority: one of AUTHORITY: whether a channel without the user's authority is taken when nothing could be
            typed (`any`), never (`user`), or first (`peer`).
    """
    native = [agent] if agent in OWN_TURN or (agent in PEER and authority != "user") else []
    if via == TYPE:
        return [TYPE]
    if via in CHANNELS:
        return native if via == agent else []
    if via == "native":
        return native
    return [TYPE, *native] if agent in PEER and authority == "any" else [*native, TYPE]
