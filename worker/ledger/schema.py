"""The tables of the ledger (docs/protocol.md#what-is-kept), and how an older ledger becomes today's.

`PRAGMA user_version` counts the migrations that a file has been through. A migration, once released, never changes.
Times are epoch seconds (REAL); `ms` and `seq` are the two numbers of a stream id, and order every lane.
"""

_V1 = """
create table inboxes (                  -- one row an agent: its turns at the bus, and how the bus is
  agent           text primary key,
  floor_ms        integer not null,     -- older ids are history from before this ledger
  imported        integer not null default 0,  -- the old watcher's state has been taken over
  next_poll_at    real not null default 0,
  next_request_at real not null default 0,
  polled_at       real,                 -- the last poll that the bus answered
  brought_at      real,                 -- the last poll that brought something
  failures        integer not null default 0,
  failing_since   real,
  error           text,                 -- why the last poll failed; null while it answers
  malformed       integer not null default 0
) without rowid;

create table streams (                  -- retention never forgets that ids up to the floor are done
  agent     text not null,
  stream    text not null,
  floor_ms  integer not null,
  floor_seq integer not null,
  primary key (agent, stream)
) without rowid;

create table imported (                 -- ids that the old watcher delivered; it knew no streams
  agent text not null,
  ms    integer not null,
  seq   integer not null,
  primary key (agent, ms, seq)
) without rowid;

create table messages (
  id          integer primary key,
  agent       text not null,
  stream      text not null,
  ms          integer not null,
  seq         integer not null,
  message_id  text not null,
  source      text not null,
  class       text,
  project     text,
  sent_at     text,
  text        text,                     -- null once retention has cleared it
  received_at real not null,
  state       text not null check (state in ('open', 'delivered', 'failed', 'logged')),
  finished_at real,
  unique (agent, stream, ms, seq)
);
create index messages_by_time on messages (agent, ms);
create index messages_open on messages (id) where state = 'open';
create index messages_finished on messages (text is null, finished_at) where state in ('delivered', 'logged');

create table lanes (
  id            integer primary key,
  agent         text not null,
  transport     text not null,
  paused        integer not null default 0,
  broken_since  real,                   -- its last ending was "nobody there": only the head probes
  broken_reason text,
  unique (agent, transport)
);

create table deliveries (
  id         integer primary key,
  message    integer not null references messages (id) on delete cascade,
  lane       integer not null references lanes (id),
  ms         integer not null,
  seq        integer not null,
  state      text not null check (state in
               ('waiting', 'running', 'retrying', 'held', 'succeeded', 'dead', 'cancelled')),
  attempt_id text,
  starts     integer not null default 0,  -- attempts started; never reset
  burnt      integer not null default 0,  -- attempts that count towards max_attempts
  frees      integer not null default 0,  -- endings in a row that used up no attempt
  voids      integer not null default 0,
  next_at    real,
  cancel     integer not null default 0,
  woken_at   real,
  reason     text not null default '',
  ended_at   real
);
create index deliveries_of_message on deliveries (message);
create index deliveries_pending on deliveries (lane, ms, seq, id) where state in ('waiting', 'retrying');
create index deliveries_scheduled on deliveries (lane, next_at)
  where state in ('waiting', 'retrying') and next_at is not null;
create index deliveries_running on deliveries (lane) where state = 'running';
create index deliveries_stuck on deliveries (state, lane, ms, seq, id) where state in ('held', 'dead');

create table attempts (
  id         text primary key,          -- names its files; begins with its time, so that new rows lie together
  delivery   integer not null references deliveries (id) on delete cascade,
  lane       integer not null,
  starts     integer not null,
  worker     text not null,
  boot_id    text not null,
  source     text not null,
  started_at real not null,
  timeout    real not null,
  ended_at   real,
  result     text,                      -- `exit 0`, `timed out and was killed`, ...
  output     text                       -- the tail of what it printed, redacted
) without rowid;
create index attempts_of_delivery on attempts (delivery, starts);
create index attempts_recent on attempts (lane, started_at);

create table workers (
  id         text primary key,
  pid        integer not null,          -- for people only: a pid proves nothing
  boot_id    text not null,
  version    text not null,
  kind       text not null,             -- 'consumer' or 'once'
  started_at real not null,
  swept_at   real,
  health     text,                      -- 'ok', or what the watchdog finds wrong with it; null until it has looked
  stopped_at real
) without rowid;
"""

_V2 = """
create view lane_heads as               -- each lane: what runs (one at most), what comes first of what waits
select l.id as lane, l.agent, l.transport, l.paused, l.broken_since,
       (select r.id from deliveries r indexed by deliveries_running
        where r.lane = l.id and r.state = 'running' limit 1) as running,
       (select h.id from deliveries h indexed by deliveries_pending
        where h.lane = l.id and h.state in ('waiting', 'retrying') order by h.ms, h.seq, h.id limit 1) as head
from lanes l;
"""

_V3 = """
alter table deliveries add column renewed_at real;  -- when a person last asked for it again: its age counts from then
"""

_V4 = """
create index messages_failed on messages (text is null, finished_at) where state = 'failed';

create table skipped (                  -- ids that never run again, though the bus may still show them
  agent  text not null,
  stream text not null,
  ms     integer not null,
  seq    integer not null,
  primary key (agent, ms, seq, stream)
) without rowid;
"""

_V5 = """
alter table inboxes add column looked_from_ms integer;  -- from here on the first look saw everything; null: none yet
alter table inboxes add column bus_ahead real;          -- seconds that the bus's clock was ahead of ours, last time
alter table inboxes add column booked_at real;          -- when next_poll_at or next_request_at was set
"""

_V6 = """
alter table workers add column serves text;             -- JSON: the transports of each agent that it serves
alter table workers add column config_error text;       -- why the configuration that is there is not in force
alter table inboxes add column error_code text;         -- the stable code of `error`
alter table inboxes add column malformed_at real;       -- when entries that are no messages were last seen
"""

_V7 = """
alter table workers add column config_read_at real;     -- when it last read its configuration, used or refused
alter table workers add column needs_restart text;      -- changed keys that it cannot take while it runs: a, b
"""

_V8 = """
alter table inboxes add column polled_by text;          -- the worker that polls it, and keeps its rhythm and its budget
alter table inboxes add column leased_until real;       -- until then no other worker does, unless that one is gone
"""

_V9 = """
create table unknown_screens (          -- screens that a profile did not explain: whether an agent's UI has drifted
  ui       text not null,               -- the profile's name
  version  text not null,               -- of the agent that ran; empty: not known
  count    integer not null,
  first_at real not null,
  last_at  real not null,
  primary key (ui, version)
) without rowid;
"""

_V10 = """
create table companions (               -- deliveries that an attempt made together with its own: one wake for them all
  attempt  text not null references attempts (id) on delete cascade,
  delivery integer not null references deliveries (id) on delete cascade,
  starts   integer not null,            -- which attempt of that delivery it was
  primary key (attempt, delivery)
) without rowid;
create index companions_of_delivery on companions (delivery);
"""

_OUTBOX = """
create table outbox (                   -- what our agents send, until the bus has it, and what became of it
  id          integer primary key,
  agent       text not null,            -- who sends it
  recipient   text not null,
  kind        text not null,            -- what it is for: see worker/outgoing.py
  text        text,                     -- as the bus gets it; null once retention has cleared it
  class       text,
  answers     text,                     -- the key of the message that it answers
  created_at  real not null,
  state       text not null check (state in
                ('waiting', 'sending', 'retrying', 'held', 'sent', 'dead', 'cancelled')),
  worker      text,                     -- who sends it, or was the last to try
  claimed_at  real,
  attempts    integer not null default 0,
  failures    integer not null default 0,  -- in a row, after which nothing had been sent
  unknown     integer not null default 0,  -- after which nobody knew
  next_at     real,
  reason      text not null default '',
  remark      text,                     -- what the sender should know though it was sent
  stream      text,                     -- where it lies on the bus
  message_id  text,
  ended_at    real,
  outcome     text,                     -- what the recipient's worker reported: 'submitted', 'dead', ...
  outcome_at  real,
  released    integer not null default 0  -- a person said that it goes, whatever the brake says
);
create index outbox_pending on outbox (agent, recipient, id) where state in ('waiting', 'sending', 'retrying');
create index outbox_recent on outbox (agent, recipient, created_at);
create index outbox_stuck on outbox (state, id) where state in ('held', 'dead');
create index outbox_sent on outbox (recipient, message_id) where message_id is not null;
create index outbox_ended on outbox (ended_at) where state in ('sent', 'dead', 'cancelled');
"""

_TELLING = """
alter table messages add column reported text;  -- what its sender has been told: 'stuck', 'dead', ...; 'none': nothing
alter table messages add column receipt text;   -- 'wanted' by its sender, 'given'
update messages set reported = 'none' where state = 'failed';
create index messages_unreported on messages (id) where state = 'failed' and (reported is null or reported = 'stuck');
create index messages_receipts on messages (id) where receipt = 'wanted' and state <> 'open';

create table seen (                     -- up to which message an agent has read its inbox with its MCP tool
  agent   text primary key,
  message integer not null
) without rowid;

create table notices (                  -- messages from one worker to another, to be read by the next sweep
  message integer primary key references messages (id) on delete cascade
);
create trigger notice_came after insert on messages
when new.state = 'logged' and new.class = 'terminal-log' and new.text like '[% -> % class=terminal-log] bus-watch %'
begin
  insert into notices (message) values (new.id);
end;

create table events (                   -- every change of a state, for followers; the newest ones only
  id       integer primary key,         -- the cursor; the newest is never forgotten
  at       real not null,
  message  integer,                     -- one of these three
  delivery integer,
  sent     integer,
  state    text not null
);
create trigger message_came after insert on messages begin
  insert into events (at, message, state)
  values ((julianday('now') - 2440587.5) * 86400.0, new.id, case new.state when 'open' then 'came' else new.state end);
end;
create trigger message_changed after update of state on messages when new.state <> old.state begin
  insert into events (at, message, state) values ((julianday('now') - 2440587.5) * 86400.0, new.id, new.state);
end;
create trigger delivery_changed after update of state on deliveries when new.state <> old.state begin
  insert into events (at, delivery, state) values ((julianday('now') - 2440587.5) * 86400.0, new.id, new.state);
end;
create trigger sent_written after insert on outbox begin
  insert into events (at, sent, state) values ((julianday('now') - 2440587.5) * 86400.0, new.id, new.state);
end;
create trigger sent_changed after update of state on outbox when new.state <> old.state begin
  insert into events (at, sent, state) values ((julianday('now') - 2440587.5) * 86400.0, new.id, new.state);
end;
create trigger outcome_came after update of outcome on outbox when new.outcome is not old.outcome begin
  insert into events (at, sent, state) values ((julianday('now') - 2440587.5) * 86400.0, new.id, new.outcome);
end;
"""

_ONE_RUNS = """
alter table deliveries add column companion integer not null default 0;  -- its own id, if it goes with another
update deliveries set companion = id where state = 'running'
  and not exists (select 1 from attempts a where a.id = deliveries.attempt_id and a.delivery = deliveries.id);
drop view lane_heads;
drop index deliveries_running;
create unique index one_runs on deliveries (lane, companion) where state = 'running';  -- one attempt a lane, whatever
create view lane_heads as               -- each lane: what runs (one attempt at most), what comes first of what waits
select l.id as lane, l.agent, l.transport, l.paused, l.broken_since,
       (select r.id from deliveries r indexed by one_runs
        where r.lane = l.id and r.state = 'running' limit 1) as running,
       (select h.id from deliveries h indexed by deliveries_pending
        where h.lane = l.id and h.state in ('waiting', 'retrying') order by h.ms, h.seq, h.id limit 1) as head
from lanes l;
"""

_ALERTS = """
create table alerts (                   -- conditions that people have been told of, and whose end they have not
  condition   text not null,
  about       text not null,
  opened_at   real not null,
  clear_since real,                     -- it has not held since then
  said        text not null,            -- what they were told
  primary key (condition, about)
) without rowid;
"""

_MOVES = """
create table departures (               -- this ledger has moved: nobody works with it any more; one row at most
  move  text primary key,
  place text not null,                  -- where it is now, without a password
  at    real not null,
  done  integer not null default 0      -- 0: on its way; whether it came shows in `arrivals` there
) without rowid;

create table server_line (               -- of a ledger in a server: which history of it this is; one row
  number     integer primary key check (number = 1),
  system     text not null,
  timeline   integer not null,
  changed_at real                       -- it became another one, and nobody has looked yet
) without rowid;

create table arrivals (                 -- ledgers that have come into this one
  move  text primary key,
  place text not null,                  -- where from
  at    real not null
) without rowid;
"""

_NOTICES = """
create index messages_notices on messages (ms) where class = 'terminal-log';  -- among them: what workers tell workers
"""

_NAMES = """
alter table messages add column name text;     -- what an answer to it names, on a bus that has such names
alter table messages add column answers text;  -- the name of the message that it answers, as its sender says
"""

_FLEET = """
create table hosts (                    -- those that share this ledger; none where it is one host's own
  name         text primary key,
  id           text not null,           -- proves that it is the same one: random, and kept beside its receipts
  boot_id      text not null,
  seen_at      real not null,           -- when one of its workers last swept
  version      text not null,
  fingerprint  text not null,           -- of its configuration, as far as hosts should have the same
  forgotten_at real                     -- a person said that it will not come back
) without rowid;

alter table workers add column host text not null default '';  -- where it runs; empty: the only one
alter table workers add column seen_at real;            -- when it last swept, where other hosts want to know

alter table attempts add column host text not null default '';  -- where its files are
alter table attempts add column start_by real;          -- it has started by then, or never will
alter table attempts add column late text;  -- 'awaited': another host called it unknown; then what its own said of it
create index attempts_awaited on attempts (host) where late = 'awaited';

alter table alerts add column host text not null default '';  -- which of them has seen it, and sees its end

alter table lanes add column host text;                 -- who runs it; null: nobody has begun
alter table lanes add column run_on text;               -- who else may, as that one has it configured; null: nobody
alter table lanes add column moving_to text;            -- who is to have it as soon as nothing of it runs
drop view lane_heads;
create view lane_heads as               -- each lane: what runs (one attempt at most), what comes first of what waits
select l.id as lane, l.agent, l.transport, l.paused, l.broken_since, l.host, l.moving_to,
       (select r.id from deliveries r indexed by one_runs
        where r.lane = l.id and r.state = 'running' limit 1) as running,
       (select h.id from deliveries h indexed by deliveries_pending
        where h.lane = l.id and h.state in ('waiting', 'retrying') order by h.ms, h.seq, h.id limit 1) as head
from lanes l;
"""

MIGRATIONS: tuple[str, ...] = (
    *(_V1, _V2, _V3, _V4, _V5, _V6, _V7, _V8, _V9, _V10),
    *(_OUTBOX, _TELLING, _ONE_RUNS, _ALERTS, _MOVES, _NOTICES, _NAMES, _FLEET),
)
VERSION = len(MIGRATIONS)
CLOSED = (
    "inboxes",
    "messages",
    "lanes",
    "deliveries",
    "attempts",
    "outbox",
    "workers",
)  # to writers, once it has moved
