"""The stand-in agent of `ops/demo`: the tests' UI, which answers what is a question as the message says.

An agent with a model behind it does the same in its own words: it runs the command that the message ends with.
"""

import re
import shlex
import subprocess
import sys
import threading
from pathlib import Path

from tests.fakes.standin import StandIn

ANSWERS = {"is the build green?": "yes, green since 9:40", "is it out?": "yes, out, and all is well"}
HINT = re.compile(r"\n\(Only if the sender needs an answer: (?P<command>.+) 'TEXT'\)$")


class DemoAgent(StandIn):
    """Answers questions, and nothing else: whoever thanks for everything never ends."""

    def __init__(self, log: Path, control: Path, record: Path) -> None:
        super().__init__(log, control, record)
        self.control_path = control

    def submit(self) -> None:
        """What was typed is sent."""
        prompt = self.draft
        super().submit()
        hint = HINT.search(prompt)
        asked = HINT.sub("", prompt).partition("] ")[2]
        if hint is not None and asked in ANSWERS:
            command = [*shlex.split(hint["command"]), ANSWERS[asked]]
            threading.Thread(target=self.answer, args=(command, len(self.history) - 1), daemon=True).start()

    def answer(self, command: list[str], row: int) -> None:
        """Run the command, and show below the message what it said."""
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        shown = shlex.join([Path(command[0]).name, *command[1:]])
        self.history[row] += f"\n* ran {shown}\n  {(done.stdout + done.stderr).strip()}"
        with self.control_path.open("w", encoding="utf-8") as control:
            control.write("\n")  # nothing to obey: it draws itself anew


if __name__ == "__main__":
    DemoAgent(*(Path(one) for one in sys.argv[1:4])).run()
