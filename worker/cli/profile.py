"""Make a profile for an agent that has none, from what its pane shows, and try it.

`new` walks you through the agent's states, records the screen of each, proposes the file, judges every recording by it
and says what is left to decide. It types nothing: you do. `try` judges the recordings again after you have edited the
file. `record` keeps one more screen. Recordings hold whole screens: look through them before you share any.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from worker.cli import options, output
from worker.errors import BusWatchError, UsageError

if TYPE_CHECKING:
    from worker.terminal.looking import Examined
    from worker.terminal.profiles import Profile
    from worker.terminal.recordings import Recording
    from worker.terminal.tmux import Server

EXAMPLES = """examples:
  bus-watch profile new droid -t droid        the agent `droid` in the pane of session `droid`
  bus-watch profile try droid                 after an edit of its file: is each recording still right?
  bus-watch profile record droid dialog -t droid --about "asks for the network"
  send-message --look -t droid                what a message would meet there now
"""

STEPS = (
    ("idle", "idle", "Let the agent stand idle, its input box empty."),
    ("half a line", "draft", "Type half a line into the box, without Enter."),
    ("five lines", "draft", "Empty the box. Paste the five lines: they are in tmux's buffer, prefix ] pastes them."),
    ("8 KB", "draft", "Empty the box. Paste 8 KB: they are in tmux's buffer now, prefix ] again."),
    ("busy", "busy", "Empty the box. Send the agent something long; go on here while it answers."),
    ("dialog", "dialog", "Have it ask whether it may run a command; leave the question open."),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument(
        "action", choices=["new", "try", "record"], help="make one; judge its recordings; keep a screen"
    )
    parser.add_argument("name", metavar="NAME", help="what the profile is called: letters, digits, - and _")
    parser.add_argument(
        "state", nargs="?", default="", metavar="STATE", help="record: what the screen must be judged to be"
    )
    parser.add_argument(
        "-t", "--target", default="", metavar="PANE", help="SESSION[:WINDOW[.PANE]] or %%ID, as for send-message"
    )
    parser.add_argument("-L", "--socket-name", default="", metavar="NAME", help="the tmux server, as tmux -L")
    parser.add_argument("--socket-path", default="", metavar="PATH", help="the tmux server, as tmux -S")
    parser.add_argument("--about", default="", metavar="WORDS", help="record: what was done to get there")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="the recordings (default: screens/NAME beside the profiles)"
    )
    parser.add_argument("--force", action="store_true", help="new: replace a profile of yours that is there")
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    import os
    import re

    from worker.terminal.profile_files import user_directory

    if re.fullmatch(r"[A-Za-z0-9][\w-]{0,39}", args.name) is None:
        raise UsageError(f"{args.name!r} is no name for a profile: letters, digits, - and _")
    if args.action != "try" and not args.target:
        raise UsageError(f"profile {args.action} needs the agent's pane: -t SESSION or -t %ID")
    directory = user_directory(os.environ)
    folder = args.folder or directory.parent / "screens" / args.name
    if args.action == "new":
        return _new(args, directory, folder)
    return _try(args, folder) if args.action == "try" else _record(args, folder)


def _new(args: argparse.Namespace, directory: Path, folder: Path) -> int:
    from worker.atomic_files import write_atomically
    from worker.terminal import profiles, proposal

    path = directory / f"{args.name}.toml"
    if path.exists() and not args.force:
        raise UsageError(f"{path} is there already: profile try {args.name} tries it, --force replaces it")
    server, found = _pane(args)
    screens = {}
    for step, state, words in STEPS:
        for name, text in (("five lines", proposal.FIVE_LINES), ("8 KB", proposal.LONG)):
            if step == name:
                server.call("load-buffer", "-", stdin=text.encode())
        answer = _asked(f"{words}\nEnter: record it; s: leave it out. ")
        if answer == "s" and step != "idle":
            continue
        found = _examined(args, server)
        assert found.look is not None  # noqa: S101 - a pane that is alive was looked at
        screens[step] = found.look
        _kept(folder, args.name, state, found, step)
    commands, scripts = _names(found)
    made = proposal.propose(screens, commands, scripts)
    text = made.toml(args.name, _version(found))
    try:
        profile = profiles.parse(args.name, text, str(path))
    except profiles.ProfileError as why:
        print(f"the proposal cannot be used yet: {why}")
        profile = None
    judged = list(_judged(folder, profile)) if profile is not None else []
    good = profile is not None and all(right for _, _, right in judged)
    target = path if good else path.with_suffix(".toml.draft")
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomically(target, text.encode())
    output.write(f"\n{target}:\n\n{text}\n")
    _print_judged(judged)
    if not good:
        output.write(f"\nIt does not explain every recording: edit it, and call it {path.name} once it does.\n")
    output.write("\nleft to decide (worker/terminal/profiles/README.md explains each key):\n")
    output.write("".join(f"- {one}\n" for one in proposal.OPEN))
    output.write(f"\nthen: send-message -v -t {args.target} -m hello, ten times, and each must say submitted\n")
    return 0 if good else 1


def _try(args: argparse.Namespace, folder: Path) -> int:
    from worker.terminal.command import load_profiles

    loaded = load_profiles()
    if args.name not in loaded:
        raise UsageError(f"no profile is called {args.name!r}; there are: {', '.join(sorted(loaded))}")
    judged = list(_judged(folder, loaded[args.name]))
    if not judged:
        raise UsageError(f"{folder} holds no recordings: profile new or profile record makes some")
    if args.json:
        rows = [
            {"recording": str(one.path), "wanted": one.state, "judged": said, "right": ok} for one, said, ok in judged
        ]
        output.print_json({"ok": all(ok for _, _, ok in judged), "recordings": rows})
    else:
        _print_judged(judged)
    return 0 if all(ok for _, _, ok in judged) else 1


def _record(args: argparse.Namespace, folder: Path) -> int:
    from worker.terminal.recordings import STATES

    if args.state not in STATES:
        raise UsageError(f"which state is it? one of {', '.join(STATES)}")
    _, found = _pane(args)
    print(_kept(folder, args.name, args.state, found, args.about or args.state))
    return 0


def _asked(words: str) -> str:
    sys.stdout.write(f"\n{words}")
    sys.stdout.flush()
    line = sys.stdin.readline()
    if not line:
        raise UsageError("the walk was not finished: standard input ended")
    return line.strip().lower()


def _pane(args: argparse.Namespace) -> "tuple[Server, Examined]":
    from worker.terminal.runner import LocalRunner
    from worker.terminal.tmux import Server

    server = Server(LocalRunner(), socket_name=args.socket_name, socket_path=args.socket_path)
    return server, _examined(args, server)


def _examined(args: argparse.Namespace, server: "Server") -> "Examined":
    from worker.terminal import processes
    from worker.terminal.command import load_profiles
    from worker.terminal.looking import examine
    from worker.terminal.tmux import describe

    panes = server.candidates(args.target)
    if len(panes) > 1:
        raise UsageError(f"{args.target!r} has several panes; give one's id: {describe(panes)}")
    found = examine(server, panes[0], load_profiles())
    if found.look is None or found.look.dead:
        raise BusWatchError("the program in the pane has ended")
    if not found.group or processes.only_shells(found.group):
        raise BusWatchError("the pane runs a shell, no agent: start the agent in it")
    return found


def _names(found: "Examined") -> tuple[list[str], list[str]]:
    """What the agent's process is called that is nobody else's, and the folder of its script."""
    from worker.terminal.processes import INTERPRETER
    from worker.terminal.profiles import is_vague

    named = {name for one in found.group for name in one.names}
    commands = sorted(name for name in named if not is_vague(name) and not INTERPRETER.match(name))
    commands = [name for name in commands if name not in {"cli", "index", "main", "MainThread", "start"}]
    scripts = [one.script.rpartition("node_modules/")[2] for one in found.group if "node_modules/" in one.script]
    parts = ["/".join(one.split("/")[: 2 if one.startswith("@") else 1]) + "/" for one in scripts if "/" in one]
    return commands, sorted({one for one in parts if not one.startswith(".bin")})


def _version(found: "Examined") -> str:
    from worker.terminal.versions import version_of

    for one in found.group:
        if known := version_of(one):
            return known
    return ""


def _kept(folder: Path, name: str, state: str, found: "Examined", about: str) -> Path:
    from worker.terminal.recordings import save

    assert found.look is not None  # noqa: S101 - as above
    return save(found.look, folder, profile=name, state=state, version=_version(found), about=about)


def _judged(folder: Path, profile: "Profile") -> "Iterator[tuple[Recording, str, bool]]":
    from worker.terminal import screen
    from worker.terminal.recordings import load

    for one in load(folder):
        seen = screen.judge(one.look, profile)
        yield one, f"{seen.state}: {seen.why}", one.agrees(seen)


def _print_judged(judged: "list[tuple[Recording, str, bool]]") -> None:
    rows = [("ok" if right else "BAD", one.path.name, one.about, said) for one, said, right in judged]
    output.write(output.table(rows, ("", "recording", "what", "judged")) + "\n")
