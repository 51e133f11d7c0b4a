"""The configuration of each UI, in a home of its own, and how it is started.

Nothing of the person who runs the trial is read or written: HOME, configuration and working directory are made for each
run, and the only address that a UI knows is the stand-in model's on loopback.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEY = "trial-key-that-opens-nothing-0123456789"


@dataclass(frozen=True)
class Start:
    """How to start a UI: the arguments of its program, and its environment beside the least that any has.

    `before`: the arguments of a run of the program that comes first, and writes its configuration.
    """

    args: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)


def write(path: Path, content: str | Mapping[str, Any]) -> None:
    """Write a file of configuration, text or JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def codex(home: Path, cwd: Path, base: str) -> Start:
    """Codex CLI: OpenAI responses."""
    write(
        home / ".codex" / "config.toml",
        f"""model = "fake"
model_provider = "fake"
check_for_update_on_startup = false
approval_policy = "on-request"
sandbox_mode = "read-only"
[model_providers.fake]
name = "fake"
base_url = "{base}/v1"
wire_api = "responses"
env_key = "TRIAL_KEY"
[projects."{cwd}"]
trust_level = "trusted"
""",
    )
    return Start(["--no-alt-screen"], {"TRIAL_KEY": KEY})


def opencode(home: Path, cwd: Path, base: str) -> Start:
    """OpenCode: OpenAI chat completions."""
    del cwd
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": f"{base}/v1", "apiKey": KEY},
        "models": {"fake": {}},
    }
    config = {
        "model": "fake/fake",
        "small_model": "fake/fake",
        "autoupdate": False,
        "permission": {"bash": "ask"},
        "provider": {"fake": provider},
    }
    write(home / ".config" / "opencode" / "opencode.json", config)
    return Start([], {"OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_AUTOUPDATE": "1"})


def claude(home: Path, cwd: Path, base: str) -> Start:
    """Claude Code: Anthropic messages. It asks before it runs a command only if its mode is named."""
    config = {
        "hasCompletedOnboarding": True,
        "theme": "dark",
        "customApiKeyResponses": {"approved": [KEY[-20:]], "rejected": []},
        "projects": {str(cwd): {"hasTrustDialogAccepted": True}},
    }
    write(home / ".claude.json", config)
    env = {
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": base,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }
    return Start(["--permission-mode", "default"], env)


def _gemini_settings(selected: str) -> dict[str, object]:
    """Those of Gemini CLI and of its forks: how it logs in, and nothing that asks or fetches."""
    security = {"auth": {"selectedType": selected}, "folderTrust": {"enabled": False}}
    general = {"disableAutoUpdate": True, "disableUpdateNag": True, "enableAutoUpdate": False}
    return {"security": security, "general": general, "privacy": {"usageStatisticsEnabled": False}}


def gemini(home: Path, cwd: Path, base: str) -> Start:
    """Gemini CLI: Google generateContent."""
    del cwd
    write(home / ".gemini" / "settings.json", _gemini_settings("gemini-api-key"))
    return Start([], {"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": base})


def pi(home: Path, cwd: Path, base: str) -> Start:
    """The pi coding agent: OpenAI chat completions. It never asks whether a command may run."""
    del cwd
    model = {"id": "fake", "name": "fake", "reasoning": False, "input": ["text"], "contextWindow": 1_000_000}
    provider = {"baseUrl": f"{base}/v1", "api": "openai-completions", "apiKey": KEY, "models": [model]}
    write(home / ".pi" / "agent" / "models.json", {"providers": {"fake": provider}})
    return Start(["--provider", "fake", "--model", "fake"], {"PI_OFFLINE": "1"})


AIDER = """- name: openai/fake
  edit_format: diff
  examples_as_sys_msg: true
  reminder: sys
  use_repo_map: false
"""
"""Without it aider writes its own reminders into what a person said."""


def aider(home: Path, cwd: Path, base: str) -> Start:
    """Aider: OpenAI chat completions without tools; a shell block in an answer makes it ask whether to run it."""
    del cwd
    write(home / ".aider" / "caches" / "model_prices_and_context_window.json", {"fake": {}})
    write(home / "aider-models.yml", AIDER)
    args = ["--model", "openai/fake", "--weak-model", "openai/fake", "--openai-api-base", f"{base}/v1", "--no-git"]
    args += ["--model-settings-file", str(home / "aider-models.yml"), "--max-chat-history-tokens", "10000000"]
    args += ["--analytics-disable", "--no-check-update", "--no-show-model-warnings", "--no-show-release-notes"]
    return Start(args, {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "OPENAI_API_KEY": KEY})


def ipython(home: Path, cwd: Path, base: str) -> Start:
    """IPython with an agent behind its prompt: `repl.py`, which speaks chat completions as well."""
    del cwd
    code = (Path(__file__).parent / "repl.py").read_text(encoding="utf-8")
    write(home / ".ipython" / "profile_default" / "startup" / "00-agent.py", code)
    return Start(["--no-banner"], {"TRIAL_MODEL": f"{base}/v1/chat/completions"})


def copilot(home: Path, cwd: Path, base: str) -> Start:
    """GitHub Copilot CLI: OpenAI chat completions, from a provider of one's own."""
    write(home / ".copilot" / "config.json", {"trusted_folders": [str(cwd)], "trustedFolders": [str(cwd)]})
    env = {
        "COPILOT_PROVIDER_BASE_URL": f"{base}/v1",
        "COPILOT_PROVIDER_API_KEY": KEY,
        "COPILOT_MODEL": "fake",
        # Else it sums up after some 100 KB, and says the last prompt again behind the summary.
        "COPILOT_PROVIDER_MAX_PROMPT_TOKENS": "10000000",
        "COPILOT_OFFLINE": "true",
        "COPILOT_AUTO_UPDATE": "false",
    }
    return Start([], env)


def qwen(home: Path, cwd: Path, base: str) -> Start:
    """Qwen Code: OpenAI chat completions. Its suggestions in the empty box are left on, as they are by default."""
    del cwd
    write(home / ".qwen" / "settings.json", _gemini_settings("openai"))
    env = {"OPENAI_BASE_URL": f"{base}/v1", "OPENAI_API_KEY": KEY, "OPENAI_MODEL": "fake"}
    return Start(["--approval-mode", "default"], env)


def kilo(home: Path, cwd: Path, base: str) -> Start:
    """Kilo CLI, a fork of OpenCode with a configuration of its own."""
    opencode(home, cwd, base)
    write(home / ".config" / "kilo" / "kilo.json", (home / ".config" / "opencode" / "opencode.json").read_text())
    # A turn waits for a snapshot of the directory, and 10 s later the UI asks whether to go on with snapshots.
    env = {"KILO_SNAPSHOT_TRACK_TIMEOUT_MS": "600000"}
    return Start([], {"KILO_DISABLE_MODELS_FETCH": "1", "KILO_DISABLE_AUTOUPDATE": "1", **env})


def kimi(home: Path, cwd: Path, base: str) -> Start:
    """Kimi Code CLI: OpenAI chat completions, by its environment alone."""
    del home, cwd
    env = {
        "KIMI_MODEL_NAME": "fake",
        "KIMI_MODEL_PROVIDER_TYPE": "openai",
        "KIMI_MODEL_API_KEY": KEY,
        "KIMI_MODEL_BASE_URL": f"{base}/v1",
        "KIMI_CODE_NO_AUTO_UPDATE": "1",
    }
    return Start([], env)


VIBE = """active_model = "fake"
enable_update_checks = false
enable_telemetry = false
[[providers]]
name = "fake"
api_base = "{base}/v1"
api_key_env_var = "TRIAL_KEY"
api_style = "openai"
backend = "generic"
[[models]]
name = "fake"
provider = "fake"
alias = "fake"
"""


def vibe(home: Path, cwd: Path, base: str) -> Start:
    """Mistral Vibe: OpenAI chat completions; its agent `ask` asks before it runs a command."""
    write(home / ".vibe" / "config.toml", VIBE.format(base=base))
    write(home / ".vibe" / "trusted_folders.toml", f'trusted = ["{cwd}"]\nuntrusted = []\n')
    return Start(["--agent", "ask"], {"TRIAL_KEY": KEY})


def hermes(home: Path, cwd: Path, base: str) -> Start:
    """Hermes Agent: OpenAI chat completions."""
    del cwd
    model = {"default": "fake", "provider": "custom", "base_url": f"{base}/v1", "api_key": KEY}
    config = {"model": model, "approvals": {"timeout": 900}}  # by default it denies itself after a minute
    write(home / ".hermes" / "config.yaml", config)  # JSON is YAML
    return Start([], {"OPENAI_API_KEY": KEY})


def omp(home: Path, cwd: Path, base: str) -> Start:
    """Oh My Pi, a fork of pi that runs under bun."""
    pi(home, cwd, base)
    write(home / ".omp" / "agent" / "models.json", (home / ".pi" / "agent" / "models.json").read_text())
    # Without the version five pages come some time after its box; by default it approves everything itself.
    write(home / ".omp" / "agent" / "config.yml", "setupVersion: 2\ntools:\n  approvalMode: always-ask\n")
    return Start(["--provider", "fake", "--model", "fake"], {"PI_OFFLINE": "1"})


def cn(home: Path, cwd: Path, base: str) -> Start:
    """Continue CLI: OpenAI chat completions."""
    del cwd
    model: dict[str, Any] = {"name": "fake", "provider": "openai", "model": "fake"}
    model |= {"apiBase": f"{base}/v1", "apiKey": KEY}
    model |= {"roles": ["chat"], "capabilities": ["tool_use"]}
    write(home / "continue.yaml", {"name": "trial", "version": "1.0.0", "schema": "v1", "models": [model]})
    return Start(["--config", str(home / "continue.yaml")], {"CONTINUE_TELEMETRY_ENABLED": "0"})


def cline(home: Path, cwd: Path, base: str) -> Start:
    """Cline CLI: OpenAI chat completions. By default it approves everything itself."""
    del home, cwd
    before = ["auth", "-p", "openai-compatible", "-k", KEY, "-m", "fake", "-b", f"{base}/v1"]
    return Start(["-i", "--auto-approve", "false"], before=before)
