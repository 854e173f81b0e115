"""A service whose log goes through a pipe to a reader that may stop or close the pipe."""

import signal
import subprocess

from tests.acceptance.running import Service


class PipedService(Service):
    """A service whose log is read from a pipe and copied to the file of `log_lines`."""

    _reader: "subprocess.Popen[bytes] | None" = None

    def spawn(self) -> None:
        with self._log.open("ab") as log:
            self._reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log)
        assert self._reader.stdin is not None
        with self._reader.stdin as pipe:
            self._spawn(pipe)

    def stop_reader(self) -> None:
        """Stop the reader, so that the pipe fills up."""
        assert self._reader is not None
        self._reader.send_signal(signal.SIGSTOP)

    def resume_reader(self) -> None:
        assert self._reader is not None
        self._reader.send_signal(signal.SIGCONT)

    def end_reader(self) -> None:
        """Close the pipe: every further write fails."""
        if self._reader is not None:
            self._reader.kill()
            self._reader.wait()

    def kill(self) -> None:
        super().kill()
        self.end_reader()
