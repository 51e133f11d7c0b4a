"""A desktop's notification server on a session bus of its own: a real dbus-daemon, and who answers to the name.

Desktop Notifications Specification 1.2 (https://specifications.freedesktop.org/notification-spec): `Notify` of
org.freedesktop.Notifications takes `susssasa{sv}i`, answers with an id; `GetServerInformation`, `GetCapabilities`.
"""

import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from jeepney import HeaderFields, Message, MessageType, new_error, new_method_return
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import DBusConnection, open_dbus_connection

NAME = "org.freedesktop.Notifications"
_NOTIFY = "susssasa{sv}i"


@dataclass(frozen=True)
class Shown:
    """One notification, as a server gets it. `urgency`: 0 low, 1 normal, 2 critical."""

    app: str
    summary: str
    body: str
    urgency: int


class FakeDesktop:
    """`address` is the bus's; `shown` is what was to be seen. With `served` false nobody has the name."""

    def __init__(self, folder: Path, *, served: bool = True) -> None:
        self.socket = folder / "bus"
        self.address = f"unix:path={self.socket}"
        self.shown: list[Shown] = []
        self._served = served

    def __enter__(self) -> Self:
        argv = ["dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1", f"--address={self.address}"]
        self._daemon = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self._daemon.stdout is not None
        assert self._daemon.stdout.readline(), "it listens"
        if self._served:
            self._connection = open_dbus_connection(self.address)
            asked = self._connection.send_and_get_reply(message_bus.RequestName(NAME))
            assert asked.body == (1,), "the name is ours"
            self._thread = threading.Thread(target=self._serve, args=(self._connection,), daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._daemon.terminate()  # which ends the connection, and its thread
        self._daemon.wait()
        assert self._daemon.stdout is not None
        self._daemon.stdout.close()
        if self._served:
            self._thread.join()
            self._connection.close()

    def _serve(self, connection: DBusConnection) -> None:
        while True:
            try:
                asked = connection.receive()
                if asked.header.message_type is MessageType.method_call:
                    connection.send(self._answer(asked))
            except (OSError, EOFError):
                return

    def _answer(self, asked: Message) -> Message:
        fields = asked.header.fields
        match fields.get(HeaderFields.member), fields.get(HeaderFields.signature, ""):
            case "Notify", str(signature) if signature == _NOTIFY:
                app, _replaces, _icon, summary, body, _actions, hints, _timeout = asked.body
                self.shown.append(Shown(app, summary, body, hints.get("urgency", ("y", 1))[1]))
                return new_method_return(asked, "u", (len(self.shown),))
            case "GetServerInformation", "":
                return new_method_return(asked, "ssss", ("stand-in", "bus-watch", "1", "1.2"))
            case "GetCapabilities", "":
                return new_method_return(asked, "as", (["body", "body-markup"],))
        return new_error(asked, "org.freedesktop.DBus.Error.UnknownMethod", "s", ("there is no such method",))
