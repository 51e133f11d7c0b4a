"""Which tests `ops/check` runs for what."""

import pytest

from ops.checking import chosen, main


@pytest.mark.parametrize(
    ("paths", "tests"),
    [
        (["worker/bus/embedded/store.py"], ["tests/unit/bus", "tests/integration/bus"]),
        (["worker/settings.py"], ["tests/unit/test_settings.py"]),
        (["worker/delivery.py", "worker/settings.py"], ["tests/unit/delivery", "tests/unit/test_settings.py"]),
        (["worker/terminal"], ["tests/unit/terminal", "tests/integration/terminal"]),
        (["ops/setup"], ["tests/integration/ops/test_setup.py"]),
        (["ops/wake-codex-desktop"], ["tests/integration/ops/test_wake_codex_desktop.py"]),
        (["ops/trial/truth.py"], ["tests/unit/trial"]),
        (["tests/unit/bus/test_wire.py", "tests/unit/bus"], ["tests/unit/bus"]),
        (["tests/unit/bus/test_wire.py::test_a"], ["tests/unit/bus/test_wire.py::test_a"]),
        (["tests/unit/ledger/conftest.py"], ["tests/unit/ledger"]),
        (["tests/conftest.py", "tests/fakes/homes.py", "README.md", "pyproject.toml"], []),
    ],
)  # fmt: skip
def test_the_chosen_paths(paths: list[str], tests: list[str]) -> None:
    assert chosen(paths, only_named=True) == (tests, [])


def test_named_tests_are_enough_and_changed_ones_are_not() -> None:
    paths = ["tests/unit/telemetry/test_log.py", "worker/bus/wire.py", "tasks/poll.py"]
    assert chosen(paths, only_named=True) == (["tests/unit/telemetry/test_log.py"], [])
    assert chosen(paths, only_named=False) == (
        ["tests/unit/telemetry/test_log.py", "tests/unit/bus", "tests/integration/bus"],
        ["tasks/poll.py"],
    )


def test_what_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker/nowhere.py"]) == 64
    assert capsys.readouterr().err == "ops/check: there is no worker/nowhere.py\n"
