"""Coverage of the processes that tests start, the launcher included.

This is a plugin of coverage's (`[tool.coverage.run]` in pyproject.toml), so it is loaded in each process that is
measured, and in no other: nothing in the product knows of it. Processes are measured by what coverage puts into
their environment. The launcher's is empty, and it runs without site-packages; so a measured worker has it begin with
the few lines that coverage itself begins other processes with.
"""

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

STARTS_THE_LAUNCHER = "worker.transports.client"
CONFIGURATION = "COVERAGE_PROCESS_CONFIG"

_BEGIN = """\
import os, sys
paths, sys.path[:] = sys.path[:], sys.path + {paths!r}
os.environ[{name!r}] = {value!r}
import coverage
coverage.process_startup()
os.environ.clear()
sys.path[:] = paths
"""


def measuring() -> dict[str, str]:
    """What a process needs in its environment to be measured, if this one is."""
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}


def coverage_init(_registry: object, _options: object) -> None:
    """Have the launchers of this process measured; coverage calls it."""
    sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds one module, as all others do, to change what it starts."""

    def find_spec(self, name: str, _path: Sequence[str] | None, _target: ModuleType | None = None) -> ModuleSpec | None:
        if name != STARTS_THE_LAUNCHER:
            return None
        sys.meta_path.remove(self)
        found = importlib.util.find_spec(name)
        if found is not None and found.loader is not None:
            found.loader = _Changing(found.loader)
        return found


class _Changing(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        import coverage

        self._loader.exec_module(module)
        value = os.environ.get(CONFIGURATION)
        if value is not None:
            paths = [str(Path(file).parents[up]) for file, up in ((coverage.__file__, 1), (__file__, 2))]
            begin = _BEGIN.format(paths=paths, name=CONFIGURATION, value=value)
            module._MAIN = begin + module._MAIN  # type: ignore[attr-defined]
