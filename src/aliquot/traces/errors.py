"""Files that cannot be used: the place, the problem, the fix."""


class TraceError(Exception):
    """source: the file; line: counted from 1 (the header), None for the whole; column: its name, or ""."""

    def __init__(self, source: str, line: int | None, column: str, problem: str, fix: str) -> None:
        super().__init__(source, line, column, problem, fix)
        self.source = source
        self.line = line
        self.column = column
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        place = self.source if self.line is None else f"{self.source}:{self.line}"
        column = f"column {self.column}: " if self.column else ""
        return f"{place}: {column}{self.problem}; {self.fix}"
