"""What workloads say by annotation and label is understood, or it is told that it is not."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from aliquot.cli import annotations, cluster_input, manifests
from aliquot.workloads import labels

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
JOB = """
apiVersion: batch/v1
kind: Job
metadata:
  name: train
  namespace: team
spec:
  template:
    metadata:
      %s:
        %s: %r
    spec:
      restartPolicy: Never
      containers: [{name: main, image: busybox}]
"""


def told(text: str) -> list[str]:
    return [
        str(doubt) for one in manifests.parse(text.encode(), "job.yaml") for doubt in annotations.doubts(one)
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("gpu-fracton", "gpu-fraction"),
        ("gpu_fraction", "gpu-fraction"),
        ("Preemptible", "preemptible"),
        ("topology-require", "topology-required"),
        ("checkpoint-intervall", "checkpoint-interval"),
        ("gang-sise", "gang-size"),
        ("quue", "queue"),
    ],
)
@pytest.mark.parametrize("kind", ["annotations", "labels"])
def test_a_misspelt_name_is_told_with_what_is_meant(kind: str, name: str, meant: str) -> None:
    (doubt,) = told(JOB % (kind, f"aliquot.dev/{name}", "1"))
    assert doubt == (
        f"job.yaml:11: spec.template.metadata.{kind}: nothing reads 'aliquot.dev/{name}'; "
        f"did you mean aliquot.dev/{meant}?"
    )


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        (labels.PREEMPTIBLE, ("true", "false", "False", "TRUE"), ("maybe", "no", "")),
        (labels.CHECKPOINT_INTERVAL, ("10m", "600", "1h30m"), ("1 fortnight", "ten minutes", "10 m")),
        (labels.EXPECTED_SECONDS, ("3600",), ("inf", "NaN", "1e3")),
        (labels.LAST_CHECKPOINT, ("2026-03-01T11:00:00Z",), ("2026-13-45", "11:00", "2026-03-01T11:00:00")),
    ],
)
def test_a_value_in_the_wrong_form_is_told(name: str, good: tuple[str, ...], bad: tuple[str, ...]) -> None:
    for value in good:
        assert told(JOB % ("annotations", name, value)) == []
    for value in bad:
        (doubt,) = told(JOB % ("annotations", name, value))
        assert doubt.startswith(f"job.yaml:11: spec.template.metadata.annotations.{name}: {value!r} is left")
        assert "; write " in doubt


def test_names_of_ones_own_are_no_doubt() -> None:
    for name in ("aliquot.dev/rack", "aliquot.dev/my-own", "example.com/gpu-fracton", "gang-sise"):
        assert told(JOB % ("labels", name, "x")) == []


@pytest.mark.parametrize(
    "folder", ["examples", "examples/teams", "examples/fractions", "examples/simulation"]
)
def test_the_examples_leave_no_doubt(folder: str) -> None:
    names = [str(path) for path in sorted(Path(folder).glob("*.yaml"))]
    assert names
    for one in manifests.read(names):
        assert list(annotations.doubts(one)) == []


def test_a_plan_tells_of_the_first_few(tmp_path: Path) -> None:
    text = JOB % ("annotations", "aliquot.dev/gpu-fracton", "0.5")
    path = tmp_path / "jobs.yaml"
    path.write_text("---".join(text.replace("name: train", f"name: train-{number}") for number in range(7)))
    notes = cluster_input.load([str(path)], NOW).notes
    assert [note for note in notes if "nothing reads" in note] == list(notes[:5])
    assert notes[5] == "2 more annotations and labels are not understood"


def test_what_is_there_twice_is_told_and_the_last_counts(tmp_path: Path) -> None:
    first = JOB % ("annotations", "a", "1")
    (tmp_path / "jobs.yaml").write_text(f"{first}---{first.replace('busybox', 'other')}")
    found = cluster_input.load([str(tmp_path / "jobs.yaml")], NOW)
    assert f"{tmp_path}/jobs.yaml:16: Job train is there twice; this one counts" in found.notes
    assert len(found.snapshot.pods) == 1


def test_a_job_that_the_server_would_name_has_a_name_of_its_own(tmp_path: Path) -> None:
    job = (JOB % ("annotations", "a", "1")).replace("name: train", "generateName: sweep-")
    (tmp_path / "jobs.yaml").write_text("---".join([job] * 3))
    found = cluster_input.load([str(tmp_path / "jobs.yaml")], NOW)
    assert len(found.snapshot.pods) == 3
    assert {pod.metadata.owner_references[0].name for pod in found.snapshot.pods} == {
        "sweep-0",
        "sweep-1",
        "sweep-2",
    }
    assert not [note for note in found.notes if "twice" in note]
