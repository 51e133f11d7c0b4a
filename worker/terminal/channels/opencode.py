"""OpenCode by our plugin in it: a prompt of the user's own in the session on the screen.

Facts are 1.18.33's, found by running it. No request says which session a TUI shows, but the pane's title does
(`OC | TITLE`): the channel is used if exactly one session has that title. A session that has none yet is called
`OpenCode`, as is the home screen: that is typed into. The id of a message is ours, so it is found again.
"""

from worker.terminal.channels.channel import AsideError, DriftError, Site
from worker.terminal.channels.plugin import LostError, Plugin, PluginSession

_TITLED = "OC | "


def find(site: Site, until: float, handed: str = "") -> PluginSession:
    """See `channel.Module.find`."""
    plugin = Plugin.of("opencode", site)
    try:
        return _shown(plugin, site, until)
    except AsideError:
        if not handed:
            raise
        return PluginSession(plugin, handed, busy=False)


def _shown(plugin: Plugin, site: Site, until: float) -> PluginSession:
    if not site.title.startswith(_TITLED):
        raise AsideError("the pane's title names no session yet")
    title = site.title.removeprefix(_TITLED)
    try:
        said = plugin.ask(until, op="look", title=title, suffix="")
    except LostError as why:
        raise AsideError(str(why)) from None
    if not isinstance(said.get("sessions"), int):
        raise DriftError("the plugin's answer has not the shape that is known")
    if said["sessions"] != 1 or not isinstance(said.get("session"), str):
        raise AsideError(f"{said.get('sessions')} sessions have the pane's title: which is meant is not certain")
    return PluginSession(plugin, said["session"], busy=bool(said.get("busy")))
