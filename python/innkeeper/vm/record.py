"""Records a machine from inside of its process, for whoever attends to it: see innkeeper.vm.warm.

It stands still while its state is taken, what it wrote to its root disk is copied and its process
forks; the fork writes the memory. So what is recorded is one moment, and the guest goes on at once.
"""

import contextlib
import os
import threading

from innkeeper.errors import HostFailure, InnkeeperError
from innkeeper.vm.running import Recording, RunningMachine
from innkeeper.vm.saved import LayerFiles
from innkeeper.vm.warm import DONE, TAKEN, RecordFiles


class Records:
    """Those of one machine, while it runs."""

    def __init__(self) -> None:
        self._writing: list[threading.Thread] = []

    def take(self, machine: RunningMachine, files: RecordFiles) -> None:
        """Closes the descriptors, now or when the memory is written. The guest runs in any case."""
        recording = None
        with contextlib.suppress(OSError, InnkeeperError):
            recording = self._taken(machine, files)
        if recording is None:
            _close(files)
            return
        writing = threading.Thread(target=_write, args=(recording, files), name="record")
        self._writing.append(writing)
        writing.start()

    def wait(self) -> None:
        """Until all that were begun are over."""
        for writing in self._writing:
            writing.join()

    def _taken(self, machine: RunningMachine, files: RecordFiles) -> Recording:
        """
        Raises:
            OSError, InnkeeperError.
        """
        memory = LayerFiles(pages=files.pages, index=files.index)
        try:
            recording = machine.control.save(memory, (), (files.disk,), code=files.code)
            if recording is None:
                raise HostFailure("it does not run")
            with os.fdopen(os.dup(files.state), "wb") as file:
                file.write(recording.state)
        finally:
            machine.control.resume()
        os.write(files.told, TAKEN)
        return recording


def _write(recording: Recording, files: RecordFiles) -> None:
    # Who wanted it may have gone.
    with contextlib.suppress(OSError, InnkeeperError):
        recording.finish()
        os.write(files.told, DONE)
    _close(files)


def _close(files: RecordFiles) -> None:
    for fd in files.all():
        os.close(fd)
