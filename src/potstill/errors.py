"""Errors meant for people: what is wrong, where, and what to do about it.

The command line turns each class into an exit code: `InputError` 2, any other `PotstillError` 1,
`Interrupted` 130. Library users catch `PotstillError`.
"""

from __future__ import annotations


class PotstillError(Exception):
    """Base class. `where` names the place (file:line, id, option), `fix` the remedy."""

    exit_code = 1

    def __init__(self, message: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.message = message
        self.where = where
        self.fix = fix
        super().__init__(self.__str__())

    def __str__(self) -> str:
        head = f"{self.where}: {self.message}" if self.where else self.message
        return f"{head}\n  What to do: {self.fix}" if self.fix else head


class InputError(PotstillError):
    """The user's input (file, option, recipe, model id) is wrong; nothing was done. Exit code 2."""

    exit_code = 2


class MissingExtra(InputError):
    """An optional dependency is not installed; the message says which extra brings it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed", fix=f'pip install "potstill[{extra}]"')


class Interrupted(PotstillError):
    """Ctrl-C or SIGTERM; the state is saved and the message says how to go on. Exit code 130."""

    exit_code = 130
