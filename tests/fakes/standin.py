"""A stand-in agent UI for tests: a full-screen program with a composer, whose log is the truth.

Run in a pane: `python standin.py LOG CONTROL [RECORD]`. LOG gets one JSON object a line for whatever happened:
`submit`, `queue`, `approve` (a dialog was answered), `stray` (keys into a dialog), `swallowed`, `ready`. CONTROL is a
FIFO that takes lines: `busy`, `idle`, `dialog`, `draft TEXT`, `swallow N` (the next N Enters do nothing),
`line-feed N` (they become line feeds), `slow SECONDS` (an Enter so soon after a paste becomes a line feed),
`dialog-on-paste`, `undrawn` (the dialog listens, but is drawn at the next key only), `deaf` (pastes vanish), `title
TEXT`, `exit`. While busy, Tab queues as Enter does; a dialog ignores it.
`rewrite`: Enter shows the draft in other words and submits nothing; `error WORDS`: it answers each prompt with them.
`lag SECONDS`: what is typed shows, and what is submitted is recorded, so much later.
`spin WHERE`: it redraws for ever, 50 times a second, with something that changes `above` the box, `below` it, in its
`rule`, its `placeholder` or the `title`; or the box `moves` up and down; or the cursor is `elsewhere` half of the time.
`scramble`: it shows what is typed the wrong way round.
Ctrl-U takes the last line of the draft out.
"""

import json
import os
import select
import shutil
import sys
import termios
import time
import tty
from pathlib import Path

PROMPT = "\N{HEAVY RIGHT-POINTING ANGLE QUOTATION MARK ORNAMENT}"
START, END = b"\x1b[200~", b"\x1b[201~"


class StandIn:
    def __init__(self, log: Path, control: Path, record: Path | None) -> None:
        self.log_path, self.record = log, record
        self.control = os.open(control, os.O_RDWR | os.O_NONBLOCK)
        self.draft = self.pasted = ""
        self.history: list[str] = []
        self.queue: list[str] = []
        self.busy = self.dialog = self.dialog_on_paste = self.undrawn = self.deaf = self.rewrite = self.scramble = False
        self.error = self.spin = ""
        self.turn = 0
        self.swallow = 0
        self.slow = self.lag = 0.0
        self.line_feeds = 0
        self.pasted_at = 0.0
        self.input = b""
        self.commands = b""

    def log(self, event: str, text: str = "") -> None:
        with self.log_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, "text": text, "at": time.time()}) + "\n")

    def draw(self) -> None:
        width, height = shutil.get_terminal_size()
        self.turn += bool(self.spin)
        now = f"{self.turn:06}"
        rule = "─" * width
        upper = f"── {now} " + rule[10:] if self.spin == "rule" else rule
        said = [line for text in self.history for line in f"> {text}".split("\n")]
        lines = [line[at : at + width] for line in said for at in range(0, len(line) or 1, width)]
        lines += [f"* {now}"] * (self.spin == "above") + [""] * (self.turn % 2 if self.spin == "moves" else 0)
        if self.spin == "title":
            os.write(1, f"\x1b]2;{now}\x07".encode())
        if self.busy:
            lines.append("* Working (esc to interrupt)")
        drawn = self.dialog and not self.undrawn
        if drawn:
            lines += [rule, " Do you want to proceed?", f" {PROMPT} 1. Yes", "   2. No", " Esc to cancel"]
            column = 0
        else:
            if self.queue:
                lines += [f"  {PROMPT} {text}" for text in self.queue] + ["  Press up to edit queued messages"]
            shown = self.draft
            if len(self.pasted) > 800 or self.pasted.count("\n") > 8:
                mark = f"[Pasted text #1 +{self.pasted.count(chr(10)) + 1} lines]"
                shown = shown.replace(self.pasted, mark)
            rows = (shown[::-1] if self.scramble else shown).split("\n")
            wrapped = [row[at : at + width - 2] for row in rows for at in range(0, len(row) or 1, width - 2)]
            idea = now if self.spin == "placeholder" else "something"
            placeholder = "" if self.draft else f"\x1b[2mTry {idea}\x1b[0m"
            box = [(f"{PROMPT} " if number == 0 else "  ") + row for number, row in enumerate(wrapped)]
            column = len(box[-1].expandtabs())
            below = now if self.spin == "below" else "? for shortcuts"
            lines += [upper, *box[:-1], box[-1] + placeholder, rule, f"  {below}"]
        lines = lines[-height:]
        row = len(lines) - 2 if not drawn else len(lines)
        body = "\r\n".join(lines)
        if self.spin == "elsewhere" and self.turn % 2:
            row, column = 1, 30
        os.write(1, f"\x1b[?25l\x1b[H\x1b[2J{body}\x1b[{row};{column + 1}H\x1b[?25h".encode())

    def submit(self) -> None:
        text, self.draft = self.draft, ""
        if not text.strip():
            return
        if self.busy:
            self.queue.append(text)
            self.log("queue", text)
            self.write_record({"type": "queue-operation", "operation": "enqueue", "content": text})
            return
        self.history.append(text)
        self.log("submit", text)
        time.sleep(self.lag)
        self.write_record({"type": "user", "message": {"role": "user", "content": [{"type": "text", "text": text}]}})
        if self.error:
            self.write_record({"type": "error", "words": self.error})

    def write_record(self, entry: object) -> None:
        if self.record is not None:
            with self.record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")

    def enter(self) -> None:
        if self.dialog:
            self.dialog = False
            self.log("approve")
        elif self.swallow:
            self.swallow -= 1
            self.log("swallowed")
        elif self.line_feeds:
            self.line_feeds -= 1
            self.draft += "\n"
        elif self.rewrite and self.draft:
            self.draft = f"({len(self.draft)} characters)"
        elif time.monotonic() - self.pasted_at < self.slow:
            self.draft += "\n"
        else:
            self.submit()

    def clear_line(self) -> None:
        kept, newline, line = self.draft.rpartition("\n")
        self.draft = kept + (newline if line else "")  # an empty line goes, and the one above is next

    def feed(self, data: bytes) -> None:
        self.input += data
        while self.input:
            if self.input.startswith(START):
                end = self.input.find(END)
                if end < 0:
                    return
                text = self.input[len(START) : end].decode("utf-8", "replace").replace("\r", "\n")
                self.input = self.input[end + len(END) :]
                self.pasted_at = time.monotonic()
                if self.dialog:
                    self.log("stray", text)
                elif not self.deaf:
                    self.draft += text
                    self.pasted = text
                if self.dialog_on_paste:
                    self.dialog_on_paste, self.dialog = False, True
                continue
            if START.startswith(self.input):
                return
            key, self.input = self.input[:1], self.input[1:]
            self.undrawn = False
            if key == b"\r":
                self.enter()
            elif key == b"\t" and (self.busy or self.dialog):
                if not self.dialog:
                    self.submit()
            elif key == b"\x15" and not self.dialog:
                self.clear_line()
            elif self.dialog:
                self.log("stray", key.decode("latin-1"))
            else:
                self.draft += key.decode("latin-1")

    def obey(self, line: str) -> bool:
        word, _, rest = line.partition(" ")
        if word == "idle":
            self.busy = self.dialog = False
            for text in self.queue:
                self.history.append(text)
                self.log("submit", text)
            self.queue = []
        elif word in {"busy", "dialog", "undrawn", "deaf", "rewrite", "scramble"}:
            setattr(self, word, True)
        elif word == "dialog-on-paste":
            self.dialog_on_paste = True
        elif word == "draft":
            self.draft = rest
        elif word == "swallow":
            self.swallow = int(rest)
        elif word == "line-feed":
            self.line_feeds = int(rest)
        elif word == "slow":
            self.slow = float(rest)
        elif word == "lag":
            self.lag = float(rest)
        elif word in {"error", "spin"}:
            setattr(self, word, rest)
        elif word == "title":
            os.write(1, f"\x1b]2;{rest}\x07".encode())
        elif word == "exit":
            return False
        return True

    def run(self) -> None:
        saved = termios.tcgetattr(0)
        tty.setraw(0)
        os.write(1, b"\x1b[?2004h")
        try:
            self.draw()
            self.log("ready")
            while True:
                ready = select.select([0, self.control], [], [], 0.02 if self.spin else None)[0]
                if 0 in ready:
                    data = os.read(0, 65536)
                    if not data:
                        return
                    self.feed(data)
                    time.sleep(self.lag)
                if self.control in ready:
                    self.commands += os.read(self.control, 65536)
                    *lines, self.commands = self.commands.split(b"\n")
                    for line in lines:
                        if not self.obey(line.decode()):
                            return
                        self.draw()
                        self.log("obeyed", line.decode())
                self.draw()
        finally:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)


if __name__ == "__main__":
    StandIn(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None).run()
