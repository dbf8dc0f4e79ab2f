"""`aliquot models` against a cluster: from a proposal to what still runs after a revocation."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.approvals.admission import REVISION, container, pod
from tests.cli.world import Cluster, Result, aliquot

Capsys = pytest.CaptureFixture[str]

PROPOSAL = (
    "models",
    "propose",
    "llama-1",
    "--model=llama",
    "--version=1",
    "--source=hf://meta-llama/Llama-3.1-8B",
    f"--revision={REVISION}",
    "--owner=ml-platform",
    "--licence=Llama-3.1",
    "--call-from=apps",
    "--run-in=serving",
    "--price",
    "EUR",
    "0.25",
    "1",
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("models") / "state").running() as running:
        running.apply(
            "apiVersion: v1\nkind: Namespace\n"
            "metadata: {name: serving, labels: {aliquot.dev/models: enforced}}"
        )
        yield running


def models(capsys: Capsys, cluster: Cluster, *arguments: str) -> Result:
    return aliquot(capsys, *arguments, "--kubeconfig", str(cluster.kubeconfig))


def test_a_model_from_its_proposal_to_what_runs_after_its_end(cluster: Cluster, capsys: Capsys) -> None:
    served = yaml.safe_dump(pod(container("--model", "meta-llama/Llama-3.1-8B", f"--revision={REVISION}")))
    assert models(capsys, cluster, *PROPOSAL).code == 0
    shown = models(capsys, cluster, "models", "list")
    assert shown.out.splitlines()[1].split()[:4] == ["llama-1", "1", "Proposed", "ml-platform"]
    with pytest.raises(Exception, match="no approved model"):
        cluster.apply(served)

    approved = models(capsys, cluster, "models", "approve", "llama-1", "--reason", "evaluated")
    assert (approved.code, approved.err) == (0, "model llama-1 is approved\n")
    cluster.apply(served)

    shown = models(capsys, cluster, "models", "show", "llama-1")
    assert "State:         Approved: evaluated" in shown.out
    assert "0.25/1 EUR per million tokens" in shown.out
    assert "  serving/pod/p: 1 pods" in shown.out

    again = models(capsys, cluster, "models", "revoke", "llama-1", "--reason", "bad licence")
    assert (again.code, "nobody can be asked" in again.err) == (2, True)
    revoked = models(capsys, cluster, "models", "revoke", "llama-1", "--reason", "bad licence", "--yes")
    assert (revoked.code, revoked.out) == (1, "serving/pod/p\t1 pods\n")
    with pytest.raises(Exception, match="no approved model"):
        cluster.apply(served.replace("name: p\n", "name: q\n"))
    table = json.loads(models(capsys, cluster, "models", "list", "-o", "json").out)
    assert table["items"][0]["state"] == "Revoked"
    assert table["items"][0]["workloads"][0]["pods"] == 1
    assert models(capsys, cluster, "models", "approve", "llama-1").code == 2


def test_what_the_policies_read_can_be_written_again(cluster: Cluster, capsys: Capsys) -> None:
    assert models(capsys, cluster, "models", "sync").code == 0


def test_a_proposal_that_makes_no_sense_is_named_before_it_is_sent(cluster: Cluster, capsys: Capsys) -> None:
    wrong = [*PROPOSAL[:-2], "lots", "1"]
    result = models(capsys, cluster, *wrong)

    assert result.code == 2
    assert "spec.price.input: 'lots' is not a price" in result.err


def test_models_of_a_file_need_no_cluster(capsys: Capsys, tmp_path: Path) -> None:
    result = aliquot(capsys, *PROPOSAL, "--dry-run")
    path = tmp_path / "models.yaml"
    path.write_text(result.out)

    assert "llama-1" in aliquot(capsys, "models", "list", "-f", str(path)).out
    assert "Running" not in aliquot(capsys, "models", "show", "llama-1", "-f", str(path)).out
    missing = aliquot(capsys, "models", "show", "nobody", "-f", str(path))
    assert (missing.code, "known are llama-1" in missing.err) == (2, True)
