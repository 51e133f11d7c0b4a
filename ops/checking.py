"""Check what changed: lint, format, types, import contracts, and the tests beside it.

A PATH is a module, a test file, a folder of either, or one case as pytest
names it, FILE::CASE. With a test among them only the tests named are run,
else those beside the modules: for worker/bus/client.py those in
tests/unit/bus and tests/integration/bus. Without PATH it takes what differs
from the last commit, new files included.

Uses the present .venv and builds nothing; `ops/test` is the whole gate.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".venv" / "bin"
EXAMPLES = """examples:
  ops/check                          what changed since the last commit
  ops/check worker/bus/client.py     one module, and the tests beside it
  ops/check tests/unit/delivery      the tests of one folder
  ops/check tests/unit/delivery -- -x -k backoff
                                     what follows -- is pytest's
"""


def main(argv: Sequence[str]) -> int:
    """Check what the command line asks for; the exit status: 0 all is well, 1 something is not, 64 wrong usage."""
    end = list(argv).index("--") if "--" in argv else len(argv)
    ours, for_pytest = argv[:end], argv[end + 1 :]
    parser = argparse.ArgumentParser(
        prog="ops/check", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="ops/check [PATH...] [-- PYTEST-ARGUMENT...]",
    )  # fmt: skip
    parser.add_argument("path", nargs="*", metavar="PATH", help="what to check")
    try:
        paths = [_named(one) for one in parser.parse_args(ours).path]
    except FileNotFoundError as error:
        print(f"ops/check: there is no {error}", file=sys.stderr)
        return 64
    if not ours:
        paths = changed()
        if not paths:
            print("nothing differs from the last commit; name what to check: ops/check PATH...")
            return 0
    tests, untested = chosen(paths, only_named=bool(ours))
    failed = _look(sorted({path.partition("::")[0] for path in paths}))
    if untested:
        print(f"\nno tests are beside {', '.join(untested)}")
    if tests:
        print(f"\n== {' '.join(tests)}", flush=True)
        # Unit tests take seconds: for them alone, processes to share them would take longer.
        quick = all(one.startswith("tests/unit") for one in tests)
        run = [str(BIN / "pytest") if quick else str(ROOT / "ops" / "run-tests"), *tests, *for_pytest]
        if subprocess.run(run, cwd=ROOT, check=False).returncode not in {0, 5}:
            failed.append("tests")
    print(f"\n{'FAILED: ' + ', '.join(failed) if failed else 'ok'}")
    return 1 if failed else 0


def _named(given: str) -> str:
    """A path of the command line, from the top of the checkout. Raises FileNotFoundError."""
    file, case = given.partition("::")[::2]
    path = Path(file).resolve()
    if not path.exists() or not path.is_relative_to(ROOT):
        raise FileNotFoundError(given)
    return str(path.relative_to(ROOT)) + (f"::{case}" if case else "")


def changed() -> list[str]:
    """What differs from the last commit, and new files; not what was removed."""
    ask = (["git", "diff", "--name-only", "-z", "HEAD"], ["git", "ls-files", "--others", "--exclude-standard", "-z"])
    found = "".join(subprocess.run(one, cwd=ROOT, capture_output=True, text=True, check=True).stdout for one in ask)
    return sorted({path for path in found.split("\0") if path and (ROOT / path).exists()})


def chosen(paths: Iterable[str], *, only_named: bool) -> tuple[list[str], list[str]]:
    """The tests to run for these paths, and the modules that have none.

    `only_named`: where tests are among the paths, not those beside the modules too.
    """
    named: list[str] = []
    beside: list[str] = []
    untested: list[str] = []
    for path in paths:
        parts = Path(path.partition("::")[0]).parts
        if parts[0] == "tests":
            named += _tests_in(path)
        elif len(parts) > 1:
            found = _tests_beside(parts)
            beside += found
            if not found and _is_python(ROOT / path):
                untested.append(path)
    if only_named and named:
        beside, untested = [], []
    tests = list(dict.fromkeys(named + beside))
    inside = [one for one in tests if any(str(folder) in tests for folder in Path(one).parents)]
    return [one for one in tests if one not in inside], untested


def _tests_in(path: str) -> list[str]:
    file = Path(path.partition("::")[0])
    if (len(file.parts) == 2 and file.suffix) or file.parts[1:2] in {("fakes",), ("fixtures",)}:
        return []  # any test may use it
    if file.name.startswith("test_") or (ROOT / file).is_dir():
        return [path]
    return [str(file.parent)]  # what the tests of its folder share


def _tests_beside(parts: Sequence[str]) -> list[str]:
    """For worker/bus/client.py tests/unit/bus and tests/integration/bus, for ops/setup test_setup.py in tests/*/ops."""
    name = Path(parts[1]).stem.replace("-", "_")
    candidates = [
        folder / entry
        for kind in ("unit", "integration")
        for folder in (Path("tests") / kind, Path("tests") / kind / parts[0])
        for entry in (name, f"test_{name}.py")
    ]
    return [str(one) for one in candidates if (ROOT / one).exists()]


def _is_python(path: Path) -> bool:
    if path.suffix or path.is_dir():
        return path.suffix == ".py"
    with path.open("rb") as file:
        return b"python" in file.readline()


def _look(paths: Sequence[str]) -> list[str]:
    """Everything but the tests, side by side; the names of what failed. Types and imports are the whole program's."""
    sources = [path for path in paths if (ROOT / path).is_dir() or _is_python(ROOT / path)]
    if not sources:
        return []
    steps = {
        "lint": ["ruff", "check", "--quiet", *sources],
        "format": ["ruff", "format", "--check", "--quiet", "--diff", *sources],
        "types": ["mypy", "--no-error-summary"],
        "import contracts": ["lint-imports"],
    }
    running = {
        name: subprocess.Popen(
            [str(BIN / command[0]), *command[1:]], cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for name, command in steps.items()
    }  # fmt: skip
    failed = []
    for name, process in running.items():
        output, _ = process.communicate()
        print(f"== {name}{'' if process.returncode else ': ok'}", flush=True)
        if process.returncode:
            print(output, flush=True)
            failed.append(name)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
