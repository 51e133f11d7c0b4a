"""What asks the bus starts often: it takes nothing along that only happens to be installed."""

import importlib.util
import subprocess
import sys

CODE = "import sys, worker.bus.client; print(*sorted({'click', 'rich'} & set(sys.modules)))"


def test_asking_the_bus_leaves_the_command_line_of_its_library_alone() -> None:
    assert importlib.util.find_spec("click")
    assert importlib.util.find_spec("rich")
    ran = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
