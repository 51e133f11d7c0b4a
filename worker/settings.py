"""What can be configured: every key, its default, and what makes no sense. `worker.configuration` reads it.

Durations are seconds, or a number with a unit: `90`, `"15m"`, `"24h"`, `"5d"`.
"""

import re
import sys
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from worker import template
from worker.alert_settings import ALERTS, AlertSettings, ChannelSettings
from worker.classes import MessageClass
from worker.credentials import SecretSource, TokenSource
from worker.delivery import PERMANENT_EXIT_CODES, OnUnknown, RetryPolicy
from worker.errors import ConfigError
from worker.secret import Secret
from worker.setting_types import (
    ANYWHERE,
    AgentName,
    Duration,
    FilePath,
    Name,
    PositiveDuration,
    RunOn,
    VariableName,
    parse_duration,
)
from worker.state_files import DEFAULT_CONFIG, DEFAULT_STATE, ENV_PREFIX, files_dir, ledger_file
from worker.urls import bridge_address, travels_in_clear


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class TransportSettings(_Model):
    """One way to wake an agent: an argv, and how patient to be with it."""

    name: Name
    """What `queue`, `pause` and the log call it."""
    command: Annotated[tuple[str, ...], Field(min_length=1)]
    """An argv, never a shell: an absolute path that is on the allowlist, then arguments with placeholders."""
    timeout: PositiveDuration = 30.0
    """After so long its whole session is killed."""
    max_attempts: Annotated[int, Field(ge=1)] = 20
    """How many failed attempts make it a dead letter."""
    retry_delay: PositiveDuration = 2.0
    """The first pause after a failure; it doubles from there, with jitter."""
    retry_max_delay: PositiveDuration = 300.0
    """The longest pause."""
    ordered: bool = True
    """Keep inbox order: while the head retries, those behind it wait."""
    on_unknown: OnUnknown = "redeliver"
    """What to do when nobody knows whether it was done: deliver it again, or hold it for a person."""
    permanent_exit_codes: frozenset[Annotated[int, Field(ge=1, le=255)]] = frozenset(PERMANENT_EXIT_CODES)
    """Exit statuses that make it a dead letter at once."""
    stdin: bool = False
    """Give the text on standard input, which carries any length."""
    env: dict[str, str] = Field(default_factory=dict)
    """More variables for it; names that begin with `SOS_` are ours."""
    classes: frozenset[MessageClass] | None = None
    """Which messages go to it; unset: all but `terminal-log`."""
    max_wakes_per_minute: Annotated[int, Field(ge=1)] | None = None
    """Over it, messages wait."""
    max_wakes_per_source: Annotated[int, Field(ge=1)] | None = None
    """The same for each sender."""
    coalesce: PositiveDuration | None = None
    """The shortest time between two wakes: what waits when its lane's turn comes is one wake, each message with its
    own preamble. Unset: a wake for each message."""
    coalesce_max: Annotated[int, Field(ge=1024, le=1024 * 1024)] = 32 * 1024
    """Bytes of text, preambles included, that go together at most; a longer message goes alone."""
    give_up_after: PositiveDuration = 5 * 86400.0
    """Dead after so long of failing, whatever the reason."""
    expires_after: PositiveDuration | None = None
    """Dead if it is older than this when its turn comes, whatever was tried before."""

    reply_hint: bool = False
    """Say behind the text how to answer it: one line, with the exact command. `install --tmux` turns it on."""
    report_stuck_after: PositiveDuration | None = None
    """Tell the sender once its message has been at the head of the lane for so long."""
    stuck_after: PositiveDuration = 300.0
    """`status` says so once the lane's head has not moved for so long."""
    run_on: RunOn | None = None
    """In a fleet: the hosts that may run it, in order of preference, or `any`. Unset: the agent's."""

    @field_validator("command")
    @classmethod
    def _templates(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        for argument in command:
            try:
                template.parse(argument)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return command

    @field_validator("env")
    @classmethod
    def _variables(cls, env: dict[str, str]) -> dict[str, str]:
        for name, value in env.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name.startswith("SOS_"):
                raise ValueError(f"{name!r} cannot be declared: names are letters, digits and _, and SOS_ is ours")
            if "\0" in value:
                raise ValueError(f"the value of {name} has a NUL in it")
        return env

    @cached_property
    def templates(self) -> tuple[template.Template, ...]:
        """The command, parsed."""
        return tuple(template.parse(argument) for argument in self.command)

    @cached_property
    def wants_message_file(self) -> bool:
        """Whether the command names `{message_file}`."""
        return any("message_file" in one.fields for one in self.templates)

    @cached_property
    def text_is_argument(self) -> bool:
        """Whether the command names `{text}`."""
        return any("text" in one.fields for one in self.templates)

    @cached_property
    def retry_policy(self) -> RetryPolicy:
        """The part of this that the rules of delivery need."""
        return RetryPolicy(
            max_attempts=self.max_attempts,
            retry_delay=self.retry_delay,
            retry_max_delay=self.retry_max_delay,
            on_unknown=self.on_unknown,
            permanent_exit_codes=self.permanent_exit_codes,
            give_up_after=self.give_up_after,
            expires_after=self.expires_after,
        )


class AgentSettings(_Model):
    """One inbox: who, with which token, at which bridge, and the transports that wake its agent."""

    agent: AgentName
    """Whose inbox is watched."""
    token_file: FilePath | None = None
    """Where the token is; read again when the file changes. Keep it 0600. `$CREDENTIALS_DIRECTORY` is filled in."""
    token_env: VariableName | None = None
    """Or: the environment variable that holds it."""
    token: Secret | None = None
    """Or, discouraged: the token itself. Refused unless the configuration is 0600."""
    project: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = None
    """The project on the bus."""
    bridge_url: str = "http://localhost:6380"
    """Where the bus's bridge is; of a mupot its address without a path."""
    bus_kind: Literal["sos", "mupot"] = "sos"
    """What the bus speaks: the bridges of SOS (and `bus-watch bus`), or their successor mupot."""
    ca_file: FilePath | None = None
    """The certificates (PEM) of the authorities that vouch for the bridge; unset: the system's, and certifi's."""
    proxy: str | None = None
    """An `http://` proxy on the way to the bridge. Never taken from the environment."""
    allow_insecure_http: bool = False
    """Allow `http://` to another machine: the token travels in the clear."""
    limit: Annotated[int, Field(ge=1, le=100_000)] = 10
    """The usual page size; a page that is not complete is widened by itself."""
    poll_interval: Annotated[float, BeforeValidator(parse_duration), Field(gt=0, le=3600)] = 3.0
    """The longest gap between polls while the bus answers, 1 h at most; after activity it is about 1.1 s. While
    `/watch` is proven it is `broadcast_wait`, if that is longer."""
    broadcast_wait: Annotated[float, BeforeValidator(parse_duration), Field(gt=0, le=3600)] = 60.0
    """How long a message that does not ring at `/watch` may wait there: a broadcast. What rings never waits."""
    requests_per_minute: Annotated[int, Field(ge=1, le=600)] = 60
    """The token's budget, kept by spacing, across workers and restarts."""
    max_page_bytes: Annotated[int, Field(ge=65_536)] = 16 * 1024 * 1024
    """The largest entry that is read; a page of them may be of any size. The worker's memory grows with it."""
    announce: bool = True
    """Keep the agent in the bus's registry."""
    watch: bool = True
    """Listen to `/watch`, where the bus has it."""
    report_to_sender: bool = True
    """Tell the sender of a message, once, that it is dead, has expired or was dropped: a message of class
    `terminal-log`, which wakes nobody."""
    brake_after: Annotated[int, Field(ge=2)] | None = 30
    """Hold what it sends to an agent with which it has exchanged so many messages within `brake_window`, and no human
    has written meanwhile: two agents that thank each other never end by themselves. Null: never."""
    brake_window: PositiveDuration = 600.0
    """See `brake_after`."""
    on_unknown: OnUnknown = "redeliver"
    """What to do with a message that this agent sends when the bus's answer was lost: send it again, or hold it."""
    run_on: RunOn | None = None
    """In a fleet: the hosts that may wake it, in order of preference, or `any`. Unset: the one that began,
    and no other."""
    transports: tuple[TransportSettings, ...] = ()
    """What wakes the agent. Without one it is not polled, and `doctor` fails."""

    @field_validator("bridge_url")
    @classmethod
    def _origin(cls, url: str) -> str:
        bridge_address(url)
        return url.rstrip("/")

    @model_validator(mode="after")
    def _checked(self) -> Self:
        names = [t.name for t in self.transports]
        if doubled := {n for n in names if names.count(n) > 1}:
            raise ValueError(f"transport names must differ: {', '.join(sorted(doubled))} is there twice")
        if travels_in_clear(self.bridge_url) and not self.allow_insecure_http:
            host = bridge_address(self.bridge_url).hostname
            raise ValueError(
                f"bridge_url: the token would travel in the clear to {host}; use https://, "
                'or say "allow_insecure_http": true'
            )
        return self

    def token_source(self, config: Path) -> TokenSource:
        """Where this agent's token is read, each time it is needed."""
        return TokenSource(
            agent=self.agent, file=self.token_file, variable=self.token_env, literal=self.token, config=config
        )

    def transport(self, name: str) -> TransportSettings | None:
        """Today's settings of the transport with this name, or None where it is gone (orphaned)."""
        return next((t for t in self.transports if t.name == name), None)


def _alert_transport(channel: ChannelSettings) -> TransportSettings:
    """An alert is a delivery like any other: patient for a day, since a phone may be out of reach."""
    return TransportSettings(
        name=channel.name,
        command=channel.command,
        env=channel.environment,
        stdin=True,
        timeout=60.0,  # it gives up by itself after 10 s; killed between its telling and its end it would tell twice
        max_attempts=10_000,
        give_up_after=86400.0,
    )


class _DocumentedVariables(EnvSettingsSource):
    """`BUS_WATCH_*` for the keys of the whole, and for no inner field."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        if field_name == "config_path":
            return None, field_name, False
        return super().get_field_value(field, field_name)


class Settings(BaseSettings):
    """The whole configuration of one worker."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    agents: tuple[AgentSettings, ...]
    """Several agents in one worker: a list of objects with the keys of an agent; keys outside the list are defaults
    for each."""
    state_path: FilePath = DEFAULT_STATE
    """The old watcher's ledger, which is taken over once. Ours lies beside it: `.db`, `-queue.db`, `.d/`."""
    ledger_url_file: FilePath | None = None
    """Of a fleet: the file with the URL of its ledger, `postgresql://USER:PASSWORD@HOST/DATABASE`. Keep it
    0600. Unset: the ledger is a file of this host."""
    ledger_url_env: VariableName | None = None
    """Or: the environment variable that holds it."""
    ledger_url: Secret | None = None
    """Or, discouraged: the URL itself. Refused unless the configuration is 0600."""
    host: Name | None = None
    """This host's name in the fleet; unset: the machine's, when it was first started."""
    host_lost_after: PositiveDuration = 900.0
    """After so long without a sign of life of a host, others may take what is not bound to it."""
    allowlist: tuple[str, ...] = ()
    """Absolute paths of the programs that may be run."""
    workers: Annotated[int, Field(ge=1, le=1000)] = 4
    """Transports at a time; polls and upkeep have threads of their own."""
    start_from: Literal["all", "now"] | Duration = 86400.0
    """How old a message may be that a new ledger takes."""
    clear_text_after: Duration = 7 * 86400.0
    """When the text of messages that are over is cleared."""
    forget_after: Duration = 30 * 86400.0
    """When delivered messages are forgotten."""
    forget_dead_after: Duration = 90 * 86400.0
    """When dead and dropped messages are forgotten."""
    log_format: Literal["auto", "json", "text"] = "auto"
    """`json` is for machines; `auto` is text, with the levels of the journal where it goes there."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """How much is logged."""
    log_file: FilePath | None = None
    """Where the log goes; unset: standard error."""
    metrics_file: FilePath | None = None
    """A Prometheus text file to keep up to date (extra `metrics`)."""
    traces_endpoint: Annotated[str, Field(pattern=r"^https?://[^\s@]+$")] | None = None
    """Where a span for each delivery goes: an OTLP/HTTP collector, as `http://127.0.0.1:4318/v1/traces` (extra `otel`).
    Unset: nowhere, at no cost."""
    sentry_dsn: Secret | None = None
    """Where errors are reported; unset: nowhere."""
    sentry_environment: str | None = None
    """The environment that Sentry shows."""
    alerts: AlertSettings = AlertSettings()
    """Who is told when something needs a hand; see [alerts](#alerts)."""
    config_path: Path = DEFAULT_CONFIG  # where this was read

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic-settings decides this signature
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the same
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the same
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The file comes as init values; the environment goes before it."""
        return _DocumentedVariables(settings_cls), init_settings

    @field_validator("allowlist")
    @classmethod
    def _absolute(cls, allowlist: tuple[str, ...]) -> tuple[str, ...]:
        for path in allowlist:
            if not path.startswith("/"):
                raise ValueError(f"{path!r} is no absolute path")
        return allowlist

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        urls = [key for key in ("ledger_url_file", "ledger_url_env", "ledger_url") if getattr(self, key) is not None]
        if len(urls) > 1:
            raise ValueError(f"the ledger's URL must be in one place: {' and '.join(urls)} are both there")
        if self.alerts.sentry_monitor and not self.sentry_dsn:
            raise ValueError("alerts.sentry_monitor needs a sentry_dsn")
        names = [a.agent for a in self.agents]
        if not names:
            raise ValueError('agents: there is none; add {"agent": NAME, ...}')
        if doubled := {n for n in names if names.count(n) > 1}:
            raise ValueError(f"agents must differ: {', '.join(sorted(doubled))} is there twice")
        return self

    def agent(self, name: str) -> AgentSettings | None:
        """The settings of one agent, or None."""
        return next((a for a in self.agents if a.agent == name), None)

    def transport(self, agent: str, name: str) -> TransportSettings | None:
        """Today's settings of one agent's transport, or None where either is gone."""
        return self._lanes.get((agent, name))

    def run_on(self, agent: str, name: str) -> tuple[str, ...] | None:
        """Which hosts of a fleet may run a transport, best first; None: the one that has begun, and no other."""
        if agent == ALERTS:
            return (ANYWHERE,)
        whose, transport = self.agent(agent), self.transport(agent, name)
        own = transport.run_on if transport is not None else None
        return own or (whose.run_on if whose is not None else None)

    def allowed_for(self, agent: str) -> tuple[str, ...]:
        """The programs that may be run for an agent: for alerts our own, and nothing else."""
        return (sys.executable,) if agent == ALERTS else self.allowlist

    @cached_property
    def _lanes(self) -> dict[tuple[str, str], TransportSettings]:
        lanes = {(agent.agent, transport.name): transport for agent in self.agents for transport in agent.transports}
        return lanes | {(ALERTS, one.name): _alert_transport(one) for one in self.alerts.channels}

    @property
    def is_fleet(self) -> bool:
        """Whether the ledger is in a server, for several hosts."""
        return self.ledger_url_source is not None

    @property
    def ledger_url_source(self) -> SecretSource | None:
        """Where the ledger's URL is read, each time it is needed; None: the ledger is `ledger_file`."""
        if self.ledger_url_file is None and self.ledger_url_env is None and self.ledger_url is None:
            return None
        return SecretSource(
            "ledger", "URL", "ledger_url", self.ledger_url_file, self.ledger_url_env, self.ledger_url, self.config_path
        )

    @property
    def state_file(self) -> Path:
        """`state_path` with the home directory filled in: the old ledger where it ends in `.json`."""
        return Path(self.state_path).expanduser()

    @property
    def ledger_file(self) -> Path:
        """Our ledger: beside the old one."""
        return ledger_file(self.state_path)

    @property
    def queue_file(self) -> Path:
        """The huey queue: beside the ledger."""
        return self.ledger_file.with_name(f"{self.ledger_file.stem}-queue.db")

    @property
    def files_dir(self) -> Path:
        """Notes, receipts, message files and worker locks."""
        return files_dir(self.state_path)
