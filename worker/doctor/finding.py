"""What a check of `doctor` says."""

from dataclasses import asdict, dataclass
from typing import Literal

Grade = Literal["ok", "note", "FAIL"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `doctor`: `ok` and `note` let it pass, `FAIL` names what would go wrong and the fix."""

    state: Grade
    check: str
    text: str
    agent: str | None = None

    def __str__(self) -> str:
        about = f"{self.check} of {self.agent}" if self.agent else self.check
        return f"{self.state} {about}: {self.text}"

    def as_json(self) -> dict[str, str | None]:
        """For scripts; keys only ever grow."""
        return asdict(self)
