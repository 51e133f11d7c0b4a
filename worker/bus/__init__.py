"""The message system as seen from here: client, wire models, and the embedded loopback bus."""
