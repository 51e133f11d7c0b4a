"""The huey tasks: poll, deliver, finalize, sweep; one module each, thin."""
