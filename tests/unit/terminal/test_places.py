"""Which pane a target means; the names are those that tmux 3.3a made of what is said beside them."""

import pytest

from worker.terminal.places import Pane, ambiguous, hint, matching, renamed


def pane(pane_id: str, place: str, window_name: str = "bash") -> Pane:
    session, _, rest = place.rpartition(":")
    window, _, index = rest.partition(".")
    return Pane(pane_id, False, 1, "/dev/pts/1", window, index, session, window_name)


PANES = [
    pane("%0", "first:0.0"),
    pane("%1", "work:0.0", "editor"),
    pane("%2", "work:1.0", "3"),
    pane("%3", "work:3.0", "a.b:c"),
    pane("%4", "work:3.1", "a.b:c"),
    pane("%1", "viewer:0.0", "editor"),
    pane("%3", "linked:9.0", "a.b:c"),
    *(pane(f"%{number}", f"{name}:0.0") for number, name in enumerate(["-d", "=work", "@1", "$1", "w*", "a b"], 10)),
    pane("%20", "%1:0.0"),
    pane("%21", "%77:0.0"),
]


@pytest.mark.parametrize(
    ("target", "ids"),
    [
        ("first", "%0"),
        ("first:", "%0"),
        ("work:0", "%1"),
        ("viewer", "%1"),
        ("viewer:editor.0", "%1"),
        ("linked", "%3"),
        ("work:3", "%3 %4"),  # the index, not the window that is called so
        ("work:3.1", "%4"),
        ("work:a.b:c", "%3 %4"),
        ("work:a.b:c.1", "%4"),
        ("%0", "%0"),
        ("%1:", "%20"),
        ("%77", "%21"),
        ("-d", "%10"),
        ("=work", "%11"),
        ("@1", "%12"),
        ("$1", "%13"),
        ("w*", "%14"),
        ("a b", "%15"),
        ("wor", ""),
        ("work:5", ""),
        ("work:3.9", ""),
        ("*", ""),
        ("", ""),
        (":", ""),
        ("%9", ""),
        ("@0", ""),
        ("$0", ""),
        ("=first", ""),
        ("first ", ""),
    ],
)
def test_a_target_is_exact(target: str, ids: str) -> None:
    assert " ".join(one.id for one in matching(PANES, target)) == ids


def test_an_id_that_is_a_name_too_is_nobodys() -> None:
    assert ambiguous(PANES, "%1") == "'%1' is a pane's id (work:0.0) and a session's name: say 'work:0.0' or '%1:'"
    assert not any(ambiguous(PANES, one) for one in ("%0", "%77", "%1:", "work", "%99"))
    assert not ambiguous([pane("%1", "%1:0.0"), pane("%2", "b:0.0")], "%1")


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        ("my.app", "my_app"),
        ("my.app:0.1", "my_app"),
        ("a:b", "a_b"),
        ("a:b:0", "a_b"),
        ("$x", r"\$x"),
        ("back\\slash", "back\\\\slash"),
        ("tab\tx", r"tab\tx"),
    ],
)
def test_a_name_that_tmux_changed(asked: str, made: str) -> None:
    panes = [pane("%0", "other:0.0"), pane("%1", f"{made}:0.0")]
    assert matching(panes, asked) == []
    assert renamed(panes, asked) == made
    assert renamed(panes[:1], asked) == ""


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("work:5", "that session has work:0.0, work:1.0, work:3.0, work:3.1; "),
        ("first:0.9", "that session has first:0.0; "),
        ("first.x", ""),
        ("nosuch:0.0", ""),
    ],
)
def test_what_may_have_been_meant(target: str, says: str) -> None:
    assert hint(PANES, target) == says
