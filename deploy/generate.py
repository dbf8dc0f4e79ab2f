"""Writes what follows from the manifests of the package: lists for kustomize, and the chart's copies.

    python deploy/generate.py          write
    python deploy/generate.py --check  only say what is out of date (exit status 1)

Source of everything: src/aliquot/manifests. Change it there, run this, commit both.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import yaml  # noqa: E402

from aliquot import __version__, manifests  # noqa: E402
from aliquot.install.objects import ORDER  # noqa: E402

MANIFESTS = Path("src/aliquot/manifests")
CHART = Path("charts/aliquot")
PARTS = ("", manifests.DEPLOYMENT, manifests.MONITORING, manifests.AUTOMATION)
HEADER = "# Written by deploy/generate.py.\n"


def generated() -> dict[Path, str]:
    """Every generated file, relative to the repository, with its text."""
    files = {MANIFESTS / part / "kustomization.yaml": kustomization(part) for part in PARTS}
    for part in PARTS:
        for name in manifests.names(part):
            files[CHART / "manifests" / (part or "cluster") / name] = manifests.text(name, part)
    files[CHART / "Chart.yaml"] = chart()
    return files


def kustomization(part: str) -> str:
    """Lists the files of one part, by the kinds in them in the order in which they are applied."""

    def place(name: str) -> tuple[int, str]:
        kinds = [one["kind"] for one in yaml.safe_load_all(manifests.text(name, part))]
        return max(ORDER.index(kind) if kind in ORDER else len(ORDER) for kind in kinds), name

    lines = ["apiVersion: kustomize.config.k8s.io/v1beta1", "kind: Kustomization"]
    if part == "":
        lines += ["sortOptions:", "  order: fifo"]
    lines += ["resources:", *(f"- {name}" for name in sorted(manifests.names(part), key=place))]
    return HEADER + "\n".join(lines) + "\n"


def chart() -> str:
    return (
        HEADER
        + f"""apiVersion: v2
name: aliquot
description: Decides which accelerator, or which exact part of one, each AI workload gets.
type: application
version: {__version__}
appVersion: {__version__}
kubeVersion: ">=1.34.0-0"
keywords: [gpu, dra, scheduling, queue, quota]
"""
    )


def main() -> int:
    check = "--check" in sys.argv[1:]
    files = generated()
    old = {path.relative_to(ROOT) for path in (ROOT / CHART / "manifests").rglob("*") if path.is_file()}
    stale = sorted(old - set(files))
    for path in stale:
        sys.stdout.write(f"{path} is not wanted any more\n")
        if not check:
            (ROOT / path).unlink()
    different = [path for path, text in files.items() if not _same(ROOT / path, text)]
    for path in different:
        sys.stdout.write(f"{path} is {'out of date' if check else 'written'}\n")
        if not check:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(files[path], encoding="utf-8")
    return 1 if check and (different or stale) else 0


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
