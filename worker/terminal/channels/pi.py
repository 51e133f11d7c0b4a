"""pi by our extension in it: a prompt of the user's own, one turn for each, in the session that the pane shows.

Facts are 1.6.0's, found by running it. pi's own queue goes back into a person's input box when they press Esc, so the
extension keeps what waits behind a turn, and hands over one at a time.
"""

from worker.terminal.channels.channel import Site
from worker.terminal.channels.plugin import PluginSession, shown


def find(site: Site, until: float, handed: str = "") -> PluginSession:
    """See `channel.Module.find`."""
    return shown("pi", site, until, handed)
