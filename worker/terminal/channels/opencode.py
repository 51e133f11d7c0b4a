"""OpenCode by our plugin in it: a prompt of the user's own in the session on the screen.

Facts are 1.18.33's, found by running it. No request says which session a TUI shows, but the pane's title does
(`OC | TITLE`): the channel is used if exactly one session has that title. A session that has none yet is called
`OpenCode`, as is the home screen: that is typed into. The id of a message is ours, so it is found again. What waits
behind a turn is in the session; when OpenCode is ended before that turn is, and started again, it waits there for a
person's next prompt, unless it is begun.
"""

import contextlib
import time

from worker.terminal.channels.channel import AsideError, DriftError, Message, Site
from worker.terminal.channels.plugin import LostError, Plugin, PluginSession, suffix_of
from worker.terminal.proof import Verdict

_TITLED = "OC | "
_BEGINS = 8.0  # seconds for a turn to begin


def find(site: Site, until: float, handed: str = "") -> "OpencodeSession":
    """See `channel.Module.find`."""
    plugin = Plugin.of("opencode", site)
    try:
        return _shown(plugin, site, until)
    except AsideError:
        if not handed:
            raise
        return OpencodeSession(plugin, handed, busy=False)


def _shown(plugin: Plugin, site: Site, until: float) -> "OpencodeSession":
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
    return OpencodeSession(plugin, said["session"], busy=bool(said.get("busy")))


class OpencodeSession(PluginSession):
    """One session; see `plugin.PluginSession`."""

    def lookup(self, message: Message) -> Verdict | None:
        """See `channel.Session.lookup`. What waits though no turn runs is begun."""
        found = super().lookup(message)
        if found is None or found.verdict == "submitted" or self.busy:
            return found
        where = OpencodeSession(self._plugin, message.session or self.id, busy=False)
        until = time.monotonic() + _BEGINS
        with contextlib.suppress(LostError, AsideError):
            self._plugin.ask(until, op="begin", session=where.id, suffix=suffix_of(message))
            begun = where._follow(message, "", until)
            found = found if begun.verdict == "unproven" else begun
        return found
