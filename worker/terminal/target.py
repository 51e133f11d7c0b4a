"""Which pane a target means, and whether what runs in its foreground may be typed into. Fails closed."""

from msgspec import Struct

from worker.terminal import processes
from worker.terminal.catalogue import Catalogue
from worker.terminal.places import Pane
from worker.terminal.processes import Process
from worker.terminal.profiles import Profile, ProfileError
from worker.terminal.tmux import RefusedError, Server, describe


class Agent(Struct, frozen=True):
    """Who reads what is typed into a pane."""

    profile: Profile
    process: Process | None
    """The process that the profile knows; None if the caller named the profile and vouched for it."""
    key: str
    """tmux's name of the key that submits; see `submits`."""

    @property
    def pid(self) -> int:
        """The process's id; 0 if there is none to hold on to."""
        return self.process.pid if self.process else 0

    def submits(self, *, busy: bool) -> str:
        """The keys that submit now, by tmux's names."""
        keys = self.profile.typing.enter_busy if busy else ""
        return keys.replace("Enter", self.key) or self.key


def resolve(server: Server, target: str, profiles: Catalogue) -> Pane:
    """The one pane that `target` means: if it has several, the only one that runs a known agent.

    Raises:
        GoneError: there is none.
        RefusedError: it is not clear which; the message lists the ids.
    """
    found = server.candidates(target)
    if len(found) == 1:
        return found[0]
    known = []
    for pane in found:
        group = [] if pane.dead else processes.foreground(server.runner, pane.tty, pane.pid)
        try:
            if profiles.knowing(group) is not None:
                known.append(pane)
        except (
            ProfileError
        ):  # somebody known runs there; if it is this pane that is meant, `identify` says what is wrong
            known.append(pane)
    if len(known) == 1:
        return known[0]
    reason = "several panes of it run" if known else "no pane of it runs"
    raise RefusedError(f"{target!r}: {reason} a known agent; give one pane's id: {describe(found)}")


def identify(server: Server, pane: Pane, profiles: Catalogue, *, chosen: str = "", allow_shell: bool = False) -> Agent:
    """Who reads what is typed into a pane.

    Args:
        server: the tmux server on the pane's host.
        pane: with its terminal.
        profiles: by name; `generic` must be among them.
        chosen: the profile that the caller vouches for, or empty.
        allow_shell: whether a shell will do.

    Raises:
        RefusedError: a shell, a carrier of another terminal, something unknown, or nobody knows what.
        ProfileError: the profile that is meant for it has a mistake.
    """
    group = processes.foreground(server.runner, pane.tty, pane.pid)
    shown = ", ".join(sorted({one.name for one in group}))
    if not group:
        raise RefusedError("the pane's foreground process cannot be found out, so nothing is typed")
    if processes.only_shells(group):
        if allow_shell and chosen in {"", "generic"}:
            return Agent(profiles["generic"], group[0], profiles["generic"].typing.enter)
        raise RefusedError(f"the pane runs a shell ({shown}), no agent: start the agent in it")
    carried = processes.carrier(group)
    if chosen:
        profile = profiles[chosen]
        process = processes.match(group, profile) or (group[0] if profile.composer is None else None)
        # Typed through another terminal, the named key was seen to get lost; its byte was not.
        return Agent(profile, process, profile.typing.enter.replace("Enter", "C-m" if carried else "Enter"))
    known = profiles.knowing(group)
    if known is not None:
        return Agent(*known, known[0].typing.enter)
    if carried:
        raise RefusedError(f"the pane runs {carried}")
    raise RefusedError(
        f"the pane runs {shown}, which no profile knows; --agent NAME names one that fits, "
        "`bus-watch profile new` makes one (--agent generic does not look: it pastes into dialogs "
        "as well, and its Enter answers them)"
    )
