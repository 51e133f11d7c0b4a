"""Live views of the read model; each needs the extra `ui`."""
