"""Ways into an agent that do not touch its screen: one module for each agent's own protocol, and the chain of them."""
