"""Whether this command runs inside an agent's sandbox, and the way out: what fails there is no dead bus, nor tmux."""

from collections.abc import Mapping

# codex-cli 0.171.0 sets the second for commands whose network it forbids, on Linux and macOS; the first on macOS.
_CODEX = ("CODEX_SANDBOX", "CODEX_SANDBOX_NETWORK_DISABLED")


def way_out(environment: Mapping[str, str]) -> str:
    """A sentence that names the sandbox and the way out of it; empty outside of one."""
    if not any(environment.get(name) not in {None, "", "0"} for name in _CODEX):
        return ""
    return (
        "this command runs in codex's sandbox, which keeps it from tmux, the network and most files: use the tools of "
        "the MCP server bus-watch (set up by: bus-watch agent setup codex --mcp), or ask for it to run outside"
    )
