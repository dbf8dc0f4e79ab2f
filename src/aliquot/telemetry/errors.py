"""What can go wrong with a source of telemetry."""


class SourceError(Exception):
    """A source cannot be read: `source` (its address, without secrets), the `problem`, and the `fix`.

    retry: whether the same request may work a moment later. too_much: the answer would be too large, and a
    smaller piece of time may work.
    """

    def __init__(
        self, source: str, problem: str, fix: str, *, retry: bool = False, too_much: bool = False
    ) -> None:
        super().__init__(f"{source}: {problem}; {fix}")
        self.source = source
        self.problem = problem
        self.fix = fix
        self.retry = retry
        self.too_much = too_much
