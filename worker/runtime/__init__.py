"""Our huey: the queue as a wake-up list, the consumer, what is due, and the watchdog."""
