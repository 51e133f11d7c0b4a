"""Connections whose other end is gone without a word are noticed by the kernel within ten seconds."""

import socket

IDLE_SECONDS, BETWEEN_SECONDS, PROBES = 6, 2, 2

_IDLE = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)  # macOS has the second

SOCKET_OPTIONS: tuple[tuple[int, int, int], ...] = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, option, value)
        for option, value in (
            (_IDLE, IDLE_SECONDS),
            (getattr(socket, "TCP_KEEPINTVL", None), BETWEEN_SECONDS),
            (getattr(socket, "TCP_KEEPCNT", None), PROBES),
        )
        if option is not None
    ),
)
"""For httpcore's and httpx's `socket_options`: a dead peer is an error after 6 + 2 * 2 s."""
