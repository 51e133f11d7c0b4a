"""Can a real agent UI answer by what `agent setup` gives it? Each is asked by a message, and its answer must arrive.

    python -m ops.trial.answering [UI...] [--by skill|mcp] [--out RESULTS.jsonl]

`skill`: the UI must show its model the ten lines, and run the command that the message names. `mcp`: it must offer our
tools, and call `reply`. The stand-in model does what the message says; a person is asked nothing. One question a UI, or
up to three until one is answered, and another message that needs no answer, and must get none.
"""

import argparse
import json
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

from ops.trial.talking import Place, Talker, prepared
from worker.install import answering

ASKED = re.compile(r"\bquestion (\d+)\b")
PATIENCE = "120"
MOST = 3


def _answer(said: str) -> str | None:
    asked = ASKED.findall(said)
    return f"answer {asked[-1]}" if asked else None


def ask(name: str, by: str) -> dict[str, Any]:
    """Ask one UI; what came of it."""
    with tempfile.TemporaryDirectory(prefix="trial-ask-") as folder:
        place = Place(Path(folder))
        try:
            place.register(["asker", "asked"])
            place.configure({"asker": "", "asked": "not-yet"})
            with Talker(prepared(name, by, place.config, "asked"), by, _answer) as talker:
                place.configure({"asker": "", "asked": talker.server.name})
                talker.ready()
                place.start()
                return {"ui": name, "version": talker.ui.package.version, "by": by} | _asked(place, talker)
        finally:
            place.stop()


def _asked(place: Place, talker: Talker) -> dict[str, Any]:
    asking = ["send", "asked", "--as", "asker", "--json", "--timeout", PATIENCE, "--wait"]
    for number in range(1, MOST + 1):  # a UI has the tools of a server that it starts with itself only after a while
        began = time.monotonic()
        said = json.loads(place.ask(*asking, "answered", f"question {number}"))
        seconds = round(time.monotonic() - began, 1)
        if said["answer"]:
            break
    told = json.loads(place.ask(*asking, "submitted", "for your notes"))
    answers = [one for one in json.loads(place.ask("history", "--json")) if one["agent"] == "asker"]
    model = talker.model
    seen = sorted(model.offered) if model.by == "mcp" else model.skilled
    good = said["answer"] == f"answer {number}" and len(answers) == 1 and bool(seen) and told["reached"]
    return {
        "seen": seen,
        "asked": number,
        "answer": said["answer"],
        "seconds": seconds,
        "answers": len(answers),
        "good": good,
        "missing": model.missing[:1],
        "shows": "" if good else talker.shows(),
        "at": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "load": round(os.getloadavg()[0]),
    }


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ui", nargs="*", default=answering.agents(), help="which (default: all that are set up so)")
    parser.add_argument("--by", choices=("skill", "mcp"), action="append", help="one of the two (default: both)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="one line of JSON each")
    args = parser.parse_args()
    good = True
    for name in args.ui:
        for by in args.by or ("skill", "mcp"):
            found = ask(name, by)
            good = good and found["good"]
            shows = found.pop("shows")
            print(json.dumps(found), shows, sep="\n" if shows else "", flush=True)
            if args.out:
                with args.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(found) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
