"""The keys of `top`, and what is wrong shown with those that help."""

from collections.abc import Sequence

from rich.text import Text

from worker.view.helps import Problem, Verb
from worker.view.plain import one_line

LONGEST = 600  # characters of a sentence

KEY_OF: dict[Verb, str] = {
    "attach": "a",
    "retry": "r",
    "drop": "d",
    "pause": "p",
    "resume": "p",
    "reload": "l",
    "edit": "e",
    "doctor": "o",
}

LISTED = """\
Enter  the story of the chosen message       bus-watch show KEY
r      retry it                              bus-watch retry KEY --transport T
d d    drop it                               bus-watch drop KEY --transport T
D D    drop all that are shown of its transport
p      pause its transport, or resume it     bus-watch pause|resume T --agent A
a      see the agent's pane; where it is gone, its session is made again
                                             tmux attach-session|new-session
c      write to the agent                    bus-watch send A - --as A -C human
e      edit the token's file where that is what is wrong, else the configuration
l      have the worker read it               bus-watch reload
o      check everything                      bus-watch doctor
/      find in agents and messages; Escape shows all again
z      freeze what is shown, or go on
Tab    from the agents to their messages, and back
q      quit
"""


def told(problems: Sequence[Problem]) -> Text:
    """A line for each, the keys first: whatever a narrow screen cuts off, it is not these."""
    found = Text()
    for number, one in enumerate(problems):
        keys = ", ".join(dict.fromkeys(f"{KEY_OF[each.verb]} {each.verb}" for each in one.helps))
        found.append("\n" if number else "")
        found.append(f"! [{keys}] " if keys else "! ", style="bold")
        found.append(one_line(one.words, LONGEST), style="red")
    return found
