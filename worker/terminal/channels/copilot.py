"""GitHub Copilot CLI by our extension in it: a prompt of the user's own, one turn for each, in the pane's session.

Facts are 1.0.102's, found by running it. An extension is a process of its own, a child of Copilot's, and joins the
session on the screen; extensions are an experimental feature. Esc at a question empties Copilot's own queue, so the
extension keeps what waits behind a turn, and hands over one at a time.
"""

from worker.terminal.channels.channel import Site
from worker.terminal.channels.plugin import PluginSession, shown


def find(site: Site, until: float, handed: str = "") -> PluginSession:
    """See `channel.Module.find`."""
    return shown("copilot", site, until, handed)
