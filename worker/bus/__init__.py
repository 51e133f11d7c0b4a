"""The message system as seen from here: client, wire models, and the embedded loopback bus."""

import sys
from typing import Any, cast

# httpx (0.28) brings its own command line along wherever click and rich happen to be installed, as with our extras: a
# third of the time of its import, for every command that asks the bus. It does without where that cannot be imported.
cast("dict[str, Any]", sys.modules).setdefault("httpx._main", None)
