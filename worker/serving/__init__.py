"""HTTP on loopback, for the embedded bus and the web view: uvicorn with bounds. Needs the extra `bus` or `ui`."""
