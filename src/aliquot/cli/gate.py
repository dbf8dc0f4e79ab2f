"""`aliquot gate`."""

import sys
from pathlib import Path

import click

from aliquot.cli.failures import Failure
from aliquot.cli.manifests import MAX_YAML_BYTES, STDIN, SUFFIXES, InputError, parse
from aliquot.cli.output import note
from aliquot.install.gating import Gated, GatingError, add_gates


@click.command(
    short_help="Add the scheduling gate to the pod templates of manifests.",
    epilog="Exit status: 0 done, 1 nothing was added, 2 error.",
)
@click.option(
    "-f",
    "--filename",
    "names",
    multiple=True,
    required=True,
    metavar="FILE",
    help="A file, a folder, or - for standard input; again for more.",
)
@click.option("--in-place", is_flag=True, help="Change the files instead of printing.")
@click.option("--all", "every", is_flag=True, help="Pods that ask for no accelerators, too.")
@click.option("--quiet", "-q", is_flag=True, help="Do not say what was done.")
def gate(names: tuple[str, ...], in_place: bool, every: bool, quiet: bool) -> None:
    """Print manifests with the gate aliquot.dev/placement on the pods that ask for accelerators.

    For clusters that put no gates on by themselves (MutatingAdmissionPolicy is served from Kubernetes 1.36
    on), so that the pods of a workload wait until all of them have their devices. Comments, order and style
    of the files stay.

    \b
        aliquot gate -f train.yaml | kubectl apply -f -
    """
    if in_place and STDIN in names:
        raise Failure("standard input cannot be changed in place; leave out --in-place")
    done: list[tuple[Path | None, str, tuple[Gated, ...]]] = []
    problems = []
    for path, source, content in _contents(names):
        try:
            parse(content, source)
            text, found = add_gates(content.decode("utf-8-sig"), every=every)
        except InputError as error:
            problems.append(str(error))
            continue
        except GatingError as error:
            problems.append(f"{source}:{error.line}: {error.problem}; {error.fix}")
            continue
        done.append((path, text, found))
        if not quiet:
            for one in found:
                said = "has the gate now" if one.outcome == "added" else one.why
                note(f"{source}:{one.line}: {one.subject}: {said}")
            if not found:
                note(f"{source}: holds no workload that is known")
    if problems:
        raise Failure(*problems)
    for number, (path, text, found) in enumerate(done):
        if not in_place:
            if number and not text.startswith("---"):
                click.echo("---")
            click.echo(text, nl=not text.endswith("\n"))
        elif path is not None and any(one.outcome == "added" for one in found):
            path.write_bytes(text.encode())
    if not any(one.outcome in ("added", "kept") for _, _, found in done for one in found):
        raise click.exceptions.Exit(1)


def _contents(names: tuple[str, ...]) -> list[tuple[Path | None, str, bytes]]:
    found: list[tuple[Path | None, str, bytes]] = []
    for name in names:
        if name == STDIN:
            found.append((None, "<stdin>", _bounded(sys.stdin.buffer.read(MAX_YAML_BYTES + 1), "<stdin>")))
            continue
        path = Path(name)
        files = [path]
        if path.is_dir():
            files = sorted(entry for entry in path.iterdir() if entry.suffix in SUFFIXES and entry.is_file())
            if not files:
                raise Failure(f"{name}: the folder holds no manifests; add {', '.join(SUFFIXES)} files")
        for file in files:
            try:
                with file.open("rb") as stream:
                    content = stream.read(MAX_YAML_BYTES + 1)
            except OSError as error:
                raise Failure(f"{file}: cannot be read: {error.strerror}; check the path") from None
            found.append((file, str(file), _bounded(content, str(file))))
    return found


def _bounded(content: bytes, source: str) -> bytes:
    if len(content) > MAX_YAML_BYTES:
        raise Failure(f"{source}: is larger than {MAX_YAML_BYTES >> 20} MiB; split it")
    return content
