"""Every error poseshard raises on purpose, grouped by what a handler would do about it.

    PoseshardError
    ├── SourceError   the user's data cannot be read: mend or replace the file
    ├── StoreError    our data is damaged or missing: verify, repair or prepare again
    ├── BusyError     somebody else holds the lock: wait and try again
    └── ConfigError   a setting is wrong: mend params.yaml or the command line

The command line prints `str(error)` and exits 1; `--debug` adds the traceback.
"""

from __future__ import annotations


class PoseshardError(Exception):
    """What happened, where, the likely cause and the next command, each on its own line.

    Args:
        what: one sentence, in the user's words.
        where: file, shard, block, example, byte offset.
        cause: the likely cause.
        next_command: what to type or do next.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        cause: str | None = None,
        next_command: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.cause = cause
        self.next_command = next_command

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.cause:
            lines.append(f"  likely cause: {self.cause}")
        if self.next_command:
            lines.append(f"  next: {self.next_command}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the way from a worker process to its parent with every line."""
        return _rebuild, (type(self), self.what, self.where, self.cause, self.next_command)


class SourceError(PoseshardError):
    """The user's data (a pickle, a picture) cannot be read as what it claims to be."""


class StoreError(PoseshardError):
    """A store or a cached block is missing, cut or altered."""


class BusyError(PoseshardError):
    """Another process holds the lock."""


class ConfigError(PoseshardError):
    """A setting is unknown, of the wrong type or out of range."""


def _rebuild(
    kind: type[PoseshardError],
    what: str,
    where: str | None,
    cause: str | None,
    next_command: str | None,
) -> PoseshardError:
    return kind(what, where=where, cause=cause, next_command=next_command)
