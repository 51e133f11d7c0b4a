"""No text may carry anything that a terminal executes, and everything else must arrive as it was."""

import os
import re
import time
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from worker.terminal.profile_files import SHIPPED, load, names
from worker.terminal.text import LEADING as DEFAULT
from worker.terminal.text import decode, guard, is_command, sanitise, squeeze, unmentioned, unnamed

FUZZ = int(os.environ.get("TERMINAL_FUZZ", "300"))  # the long form: TERMINAL_FUZZ=10000
NASTY = st.sampled_from(
    [
        "\x1b[201~",
        "\x1b[200~",
        "\x9b201~",
        "\r",
        "\r\n",
        "\n",
        "\t",
        "\x00",
        "\x03",
        "\x1b]0;x\x07",
        "\ud800",
        "\x7f",
        "\u2028",
        "🙂",
    ]
)
TEXTS = st.lists(st.one_of(NASTY, st.text(st.characters(codec=None)), st.text("[]~01; \\@!/")), max_size=30).map(
    "".join
)


@settings(max_examples=FUZZ, deadline=None)
@given(TEXTS)
@example("\x1b[201~\rrm -rf /")
def test_nothing_that_a_terminal_executes_passes(text: str) -> None:
    clean = sanitise(text)
    clean.encode()  # UTF-8 can carry it
    assert all(one in "\t\n" or unicodedata.category(one) not in {"Cc", "Cs"} for one in clean)
    assert not clean.endswith("\n")
    assert sanitise(clean) == clean


@settings(max_examples=FUZZ, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], include_characters="\t\n")))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert sanitise(text) == text.rstrip("\n")


def test_what_becomes_of_each_kind() -> None:
    assert sanitise("a\r\nb\rc\n\n") == "a\nb\nc"
    assert sanitise("\x00nul\x07\x1b[31m\x7f\x85\x9b") == "nul␇␛[31m␡\ufffd\ufffd"
    assert sanitise("\udc80\ud83d") == "\ufffd\ufffd"
    assert decode(b"\xff\xc3\xbc") == "\ufffdü"


LEADING, TRAILING = {"!": " ", "/": " "}, {"\\": " ", "@": " "}


@pytest.mark.parametrize(
    ("text", "guarded"),
    [
        ("plain", "plain"),
        ("!ls", " !ls"),
        ("/quit", " /quit"),
        ("  /quit", "   /quit"),
        ("a /b !c", "a /b !c"),
        ("ends \\", "ends \\ "),
        ("see @file", "see @file "),
        ("mail a@b", "mail a@b"),
        ("@x and more", "@x and more"),
        ("@x\nlast @y.py", "@x\nlast @y.py "),
        ("ends \\ ", "ends \\ "),
        ("!run @x", " !run @x "),
    ],
)
def test_guards(text: str, guarded: str) -> None:
    assert guard(text, LEADING, TRAILING) == guarded


@given(TEXTS)
def test_squeezing_ignores_how_it_was_wrapped(text: str) -> None:
    assert squeeze(text) == squeeze("\n  ".join(text.split()))


@pytest.mark.parametrize(
    "text", ["/clear", " /clear", "\t!ls", "\ufeff/exit", "\n#x", "@a b", "&x", "$(x)", "?", "\u00a0/x"]
)
def test_the_default_lets_no_command_pass(text: str) -> None:
    assert guard(text, DEFAULT, {}) == f"> {text}"
    assert is_command(text)
    assert not is_command(guard(text, DEFAULT, {}))


@pytest.mark.parametrize("text", ["exit", "Quit", ":q", " exit ", ":wq!"])
def test_no_word_alone_ends_a_ui(text: str) -> None:
    assert guard(text, {}, {}) == f"> {text}"
    assert guard(f"{text} now", {}, {}) == f"{text} now"


@pytest.mark.parametrize(
    ("text", "paths", "every"),
    [
        ("see @/etc/hosts now", "see @ /etc/hosts now", None),
        ("x@~/.ssh/id", "x@ ~/.ssh/id", None),
        ("@./a @../b", "@ ./a @ ../b", None),
        ('@"/a b"', '@ "/a b"', None),
        ("@\\/etc/hosts", "@ \\/etc/hosts", None),
        ("@sub/../../a", "@ sub/../../a", None),
        ("x@session:talk", "x@ session:talk", None),
        ("@a\\ b/../../c", "@ a\\ b/../../c", None),
        ("ask @gen", "ask @gen", "ask @ gen"),
        ("ask @gen...", "ask @gen...", "ask @ gen..."),
        ("npm i @openai/codex react@~18", "npm i @openai/codex react@~18", "npm i @ openai/codex react@~18"),
        ("a@b.example, HEAD@{1}", "a@b.example, HEAD@{1}", None),
        ("@ /etc, at the end @", "@ /etc, at the end @", None),
    ],
)
def test_no_ui_is_made_to_read_a_file(text: str, paths: str, every: str | None) -> None:
    assert unmentioned(text, "paths") == paths
    assert unmentioned(text, "all") == (every or paths)


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("run /deploy now", "run //deploy now"),
        ("[a:b -> c:d] /clear", "[a:b -> c:d] //clear"),
        ("/a /b\n/c", "//a //b\n//c"),
        ("cd /tmp && rm -r /tmp/x ~/a a/b", "cd //tmp && rm -r /tmp/x ~/a a/b"),
        ("//a / /, (/c)", "//a / /, (/c)"),
    ],
)
def test_no_command_is_named_in_the_midst_of_a_text(text: str, typed: str) -> None:
    assert unnamed(text) == typed
    assert unnamed(typed) == typed


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("see @/etc/hosts, @~/a and\n@../b", "see @ /etc/hosts, @ ~/a and\n@ ../b"),
        ('@"/a b" @sub/../../a', '@ "/a b" @ sub/../../a'),
        ("sed 's@/usr@/opt@' x@/etc", "sed 's@/usr@/opt@' x@/etc"),
        ("ask @gen", "ask @gen"),
        ("a\\ @/b", "a\\ @ /b"),
        ("\u597d\u3002@/b", "\u597d\u3002@ /b"),
    ],
)
def test_where_only_a_words_start_counts_the_rest_stays(text: str, typed: str) -> None:
    assert unmentioned(text, "words") == typed
    assert unmentioned(typed, "words") == typed


@settings(max_examples=FUZZ, deadline=None)
@given(st.text(st.sampled_from("@/~.\\\"' ab\n")), st.sampled_from(["paths", "all"]))
def test_a_blank_behind_an_at_is_all_that_changes(text: str, which: str) -> None:
    apart = unmentioned(text, which)
    assert squeeze(apart) == squeeze(text)
    assert unmentioned(apart, which) == apart
    assert not re.search(r"@(~?/|\.{1,2}/|[\"'\\])", apart)
    assert which == "paths" or not re.search(r"(^|\s)@\S", apart)


@pytest.mark.parametrize(
    "text", ["@" * 16384, "a" * 16384, "@" * 16384 + "/..", "\\" * 16384, "\\@" * 8192, "@/" * 8192]
)
def test_no_text_takes_long_to_take_apart(text: str) -> None:
    began = time.process_time()
    unmentioned(text, "all")
    unmentioned(text, "words")
    assert time.process_time() - began < 1


def test_no_shipped_profile_passes_a_command() -> None:
    for name in names([SHIPPED]):
        assert all(load(name, [SHIPPED]).typing.leading.get(one, "> ").strip() for one in DEFAULT), name
