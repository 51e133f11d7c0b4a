"""Shell completion, used by a real bash; and what is said without the extra that it needs."""

import subprocess
import sys
from pathlib import Path

import pytest

from worker.cli.main import COMMANDS, main


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_each_shell_gets_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    printed = capsys.readouterr().out
    assert all(command in printed for command in COMMANDS)


def test_bash_completes_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["completion", "bash"])
    script = tmp_path / "completion.bash"
    script.write_text(capsys.readouterr().out)
    type_it = f'. "{script}"; COMP_WORDS=(bus-watch te); COMP_CWORD=1; _shtab_bus_watch te; echo "${{COMPREPLY[*]}}"'
    said = subprocess.run(["bash", "-c", type_it], text=True, capture_output=True, check=True, timeout=60)
    assert said.stdout == "test-send\n"


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 69
    assert "pip install 'bus-watch[completion]'" in capsys.readouterr().err
