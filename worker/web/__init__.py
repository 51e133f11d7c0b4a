"""`bus-watch web`: the read model as a page on loopback. Needs the extra `ui`."""
