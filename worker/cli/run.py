"""Poll the bus, wake transports and record deliveries, in the foreground.

Without --once this is the consumer: the same engine as `huey_consumer worker.app.huey`, until SIGINT or SIGTERM.
With --once it polls each inbox, delivers what can be delivered now, says how many, and ends: 0 if all went well,
1 if something went dead or the bus could not be read.
"""

import argparse
import logging
import sys

from worker import hang_up
from worker.cli import options, output
from worker.settings import Settings
from worker.telemetry import log

EXAMPLES = """examples:
  bus-watch run                        until stopped; the supervisor's command
  bus-watch run --once                 deliver what is there, then end
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    options.add_json(parser)
    parser.add_argument("--once", action="store_true", help="deliver what is there now, then end")
    parser.add_argument(
        "-w", "--workers", type=options.count, metavar="N", help="transports at a time (default: workers, 4)"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log at DEBUG")
    parser.add_argument("--log-format", choices=("auto", "json", "text"), help="log lines for machines or for people")
    parser.add_argument(
        "-t", "--shutdown-timeout", type=float, metavar="SECONDS", default=10.0,
        help="how long to wait for running transports when stopped; they finish on their own all the same (10)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if not args.once:
        hang_up.hold()
    settings = options.settings(args)
    if args.workers is not None and args.workers < 1:
        print("bus-watch run: -w must be at least 1", file=sys.stderr)
        return 64
    workers = args.workers or settings.workers
    log.configure(settings, verbose=args.verbose, log_format=args.log_format)
    if args.once:
        return _once(args, settings.model_copy(update={"workers": workers}))
    from worker.app import BusWatch

    # Supervisors send SIGTERM, people SIGINT: the first of either is graceful.
    consumer = BusWatch(settings, live=True).huey.create_consumer(
        workers=workers, shutdown_timeout=args.shutdown_timeout, graceful_signal="TERM"
    )
    consumer.also_graceful()
    consumer.run()
    logging.shutdown()
    return 0


def _once(args: argparse.Namespace, settings: Settings) -> int:
    from worker.engine.run_once import run_once

    result = run_once(settings)
    if args.json:
        output.print_json(
            {"delivered": result.delivered, "dead": result.dead, "retrying": result.retrying, "errors": result.errors}
        )
    else:
        print(f"delivered {result.delivered} message(s)")
    for line in [*result.errors, *result.dead]:
        print(f"bus-watch run: {line}", file=sys.stderr)
    for line in result.retrying:
        print(f"bus-watch run: not yet: {line}", file=sys.stderr)
    return 1 if result.errors or result.dead else 0
