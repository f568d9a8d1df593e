"""Binding a host and port to listening sockets, whatever the host is: an address, a name, or all interfaces."""

import asyncio
import errno
import os
import socket
from collections.abc import Callable

LISTEN_BACKLOG = 1024
"""Connections the kernel accepts ahead of us; a whole room may reconnect at once."""

_ADDRESS_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


async def open_listeners(
    protocol_factory: Callable[[], asyncio.BaseProtocol], host: str, port: int
) -> list[asyncio.Server]:
    """Listen on every address that `host` stands for; an empty one stands for all interfaces.

    Port 0 takes a free port, the same for every address. A name's addresses that this machine does not have are
    passed over (`localhost` is `::1` by name on machines without IPv6) as long as one remains. Raises `OSError`.
    """
    listeners: list[asyncio.Server] = []
    absent: OSError | None = None
    try:
        for address in await _addresses(host, port):
            try:
                listener = await _listen(protocol_factory, address, port)
            except OSError as error:
                if error.errno not in _ADDRESS_NOT_HERE:
                    raise
                absent = error
                continue
            listeners.append(listener)
            port = listener.sockets[0].getsockname()[1]
        if absent is not None and not listeners:
            raise absent
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


async def _addresses(host: str, port: int) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except UnicodeError:  # a label of the name is empty or too long
        raise OSError(errno.EINVAL, f"{host!r} is not a host name") from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def _listen(
    protocol_factory: Callable[[], asyncio.BaseProtocol], address: str, port: int
) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(protocol_factory, address, port, backlog=LISTEN_BACKLOG)
    except OSError as error:
        if error.errno is not None:
            raise
        # Python 3.13 passes over an address that is not here by itself, and then says so without a number
        text = f"while listening on {address}: {os.strerror(errno.EADDRNOTAVAIL).lower()}"
        raise OSError(errno.EADDRNOTAVAIL, text) from None
