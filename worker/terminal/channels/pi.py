"""pi by our extension in it: a prompt of the user's own, one turn for each, in the session that the pane shows.

Facts are 1.5.2's, found by running it. pi's own queue goes back into a person's input box when they press Esc, so the
extension keeps what waits behind a turn, and hands over one at a time.
"""

from worker.terminal.channels.channel import AsideError, DriftError, Site
from worker.terminal.channels.plugin import LostError, Plugin, PluginSession


def find(site: Site, until: float) -> PluginSession:
    """See `channel.Module.find`."""
    plugin = Plugin.of("pi", site)
    try:
        said = plugin.ask(until, op="look", suffix="")
    except LostError as why:
        raise AsideError(str(why)) from None
    if not isinstance(said.get("session"), str) or not isinstance(said.get("busy"), bool):
        raise DriftError("the plugin's answer has not the shape that is known")
    return PluginSession(plugin, said["session"], busy=said["busy"])
