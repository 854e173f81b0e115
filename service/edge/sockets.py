"""
The client connections of this process, as the kernel knows them.

The HTTP server does not show its connections, but their sockets are file descriptors of this
process. To read the kernel's counters of one costs about 3 us. Linux only.
"""

import fcntl
import os
import socket
import struct
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

_DESCRIPTORS: Final = "/proc/self/fd"
# Of `struct tcp_info`: state, unacked, last_data_sent, last_data_recv, bytes_acked, bytes_received,
# notsent_bytes, data_segs_out. Linux has all of them since 4.6.
_INFO: Final = struct.Struct("=B23xI16xI4xI64xQQ8xI8xI")
_LISTENS: Final = 10
# Close at once: discard what was not sent, and send a reset.
_LINGER_NONE: Final = struct.pack("ii", 1, 0)

Client = tuple[str, str]
"""Address and port of a client, in the form of the HTTP server."""


class ClientConnection(NamedTuple):
    """The state of one client connection."""

    descriptor: int
    silent_ms: int
    """Time since a byte was sent or received."""
    is_receiving: bool
    """Whether a byte was received after the last one sent: a request is not answered yet."""
    taken_bytes: int
    """Bytes of answers that the client has acknowledged."""
    untaken_bytes: int
    """Bytes of answers that the client has not acknowledged."""


class Sockets:
    """The connections that were accepted on one port."""

    def __init__(self, port: int, family: socket.AddressFamily) -> None:
        self._port = port
        self._kind: Final = (family, socket.SOCK_STREAM, socket.IPPROTO_TCP)

    @staticmethod
    def are_readable() -> bool:
        """Whether this system shows a process its sockets."""
        return hasattr(socket, "TCP_INFO") and Path(_DESCRIPTORS).is_dir()

    @staticmethod
    def open_descriptors() -> int:
        """Return the number of open file descriptors; 0 before Linux 6.2."""
        return os.stat(_DESCRIPTORS).st_size  # noqa: PTH116 - often

    @staticmethod
    def descriptors() -> Iterator[int]:
        """Return every open file descriptor; some may be opened or closed meanwhile."""
        with os.scandir(_DESCRIPTORS) as entries:
            for entry in entries:
                yield int(entry.name)

    def observe(self, descriptor: int) -> ClientConnection | None:
        """Return the state of a client connection; None if the descriptor is something else."""
        try:
            one = socket.SocketType(*self._kind, descriptor)
        except OSError:  # not a socket, or closed meanwhile
            return None
        try:
            return self._observe(one)
        except OSError:  # not TCP, or closed meanwhile
            return None
        finally:
            one.detach()

    def client(self, descriptor: int) -> Client | None:
        """Return the client of a connection; None if it has ended."""
        try:
            one = socket.SocketType(*self._kind, descriptor)
        except OSError:
            return None
        try:
            return _client(one)
        except OSError:
            return None
        finally:
            one.detach()

    def end(
        self, descriptor: int, is_due: Callable[[ClientConnection, Client], bool], *, is_reset: bool
    ) -> bool:
        """
        End a connection if *is_due* is true of it, and return whether that was done.

        The HTTP server may close the descriptor at any time, and another connection may get its
        number. Therefore the decision is made about a duplicate, which stays the same socket.
        """
        try:
            own = os.dup(descriptor)
        except OSError:  # closed meanwhile, or no descriptor is free
            return False
        try:
            one = socket.SocketType(*self._kind, own)
        except OSError:
            os.close(own)
            return False
        try:
            seen = self._observe(one)
            if seen is None or not is_due(seen, _client(one)):
                return False
            if is_reset:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
            # The HTTP server reads the end of the connection, and closes its descriptor.
            one.shutdown(socket.SHUT_RDWR)
        except OSError:  # it has ended
            return False
        finally:
            one.close()
        return True

    def _observe(self, one: socket.SocketType) -> ClientConnection | None:
        info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
        state, unacked, sent_ms, received_ms, taken, received, unsent, sent = _INFO.unpack(info)
        if state == _LISTENS or one.getsockname()[1] != self._port:
            return None
        return ClientConnection(
            one.fileno(),
            silent_ms=min(sent_ms, received_ms),
            is_receiving=received > 0 and (received_ms < sent_ms or sent == 0),
            taken_bytes=taken,
            untaken_bytes=_untaken_bytes(one) if unacked or unsent else 0,
        )


def _untaken_bytes(one: socket.SocketType) -> int:
    (count,) = struct.unpack("i", fcntl.ioctl(one.fileno(), termios.TIOCOUTQ, bytes(4)))
    return int(count)


def _client(one: socket.SocketType) -> Client:
    host, port, *_ = one.getpeername()
    # The HTTP server leaves the zone of a link-local address out.
    return host.partition("%")[0], str(port)
