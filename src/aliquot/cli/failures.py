"""Errors as the command line shows them: the place, the problem, the fix."""

from collections.abc import Sequence

import click

from aliquot.cli.printable import printable


class Failure(click.ClickException):
    """One or several errors. Shown on stderr, one paragraph each; the exit status is 2."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems: Sequence[str] = problems

    def show(self, file: object = None) -> None:
        for problem in self.problems:
            click.echo(f"error: {printable(problem)}", err=True)
