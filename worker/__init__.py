"""bus-watch: a durable delivery worker between an agent message bus and the agent."""

__version__ = "1.0.0"
