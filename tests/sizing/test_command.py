"""`aliquot recommend` as people run it."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from tests.sizing.clusters import cluster, used

from aliquot.cli.failures import Failure
from aliquot.cli.main import cli
from aliquot.model.kinds import encode_json
from aliquot.store.usage import UsageHistory

HEADER = "time,namespace,workload,pod,device,memory_bytes,busy_percent\n"
START = 1_700_000_000


def table(path: Path, pods: int = 2, gib: float = 8.0, hours: int = 48, workload: str = "") -> Path:
    lines = [
        f"{START + 60 * minute},team,{workload},chat-{pod},gpu-{pod},{round(gib * 2**30)},5\n"
        for pod in range(pods)
        for minute in range(hours * 60)
    ]
    path.write_text(HEADER + "".join(lines))
    return path


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_bytes(encode_json(cluster(2).to_list()))
    return path


def run(*arguments: object, status: int) -> Result:
    found = CliRunner().invoke(cli, ["recommend", *map(str, arguments)], standalone_mode=False)
    if isinstance(found.exception, Failure):
        assert status == 2, found.exception
        return found
    assert found.exception is None, found.exception
    assert found.return_value == status, found.output
    return found


def failure(*arguments: object) -> str:
    found = run(*arguments, status=2)
    assert isinstance(found.exception, Failure)
    return str(found.exception.message)


def test_a_cluster_and_a_table_give_a_part_with_reason_and_what_would_come_of_it(
    snapshot: Path, tmp_path: Path
) -> None:
    found = run("-f", snapshot, "--history", table(tmp_path / "use.csv"), status=1).stdout
    assert "team/chat-0" in found
    assert "H100-80GB   Change   mig 1g.10gb" in found
    assert max(len(line) for line in found.splitlines()[:3]) <= 80
    assert "simulated: 2 pods get other parts; devices that nobody holds: 6 before, 7 after" in found


def test_one_workload_is_told_in_full_with_what_lost(snapshot: Path, tmp_path: Path) -> None:
    use = table(tmp_path / "use.csv")
    found = run("chat-0", "-f", snapshot, "--history", use, "--isolation", "device", status=0).stdout
    assert "pod/chat-0  Keep: H100-SXM5-80GB" in found
    assert "in force     exclusive: H100-SXM5-80GB" in found
    assert "not          H100-SXM5-80GB mig 4g.40gb: Isolation - isolation device is wanted" in found


def test_json_is_exact_and_complete(snapshot: Path, tmp_path: Path) -> None:
    use = table(tmp_path / "use.csv")
    found = json.loads(run("-f", snapshot, "--history", use, "-o", "json", status=1).stdout)
    assert found["kind"] == "RecommendationList"
    item = found["items"][0]
    assert item["part"]["name"] == "1g.10gb"
    assert item["memoryBytes"]["peak"] == 8 << 30
    assert item["saving"]["devicePart"] == "7/8"
    assert item["confidence"]["value"] == pytest.approx(2 / 3, abs=0.001)
    assert item["inForce"]["mode"] == "exclusive"
    assert found["summary"]["advice"] == {"Change": 2}


def test_patches_are_json_patches_for_the_claims(snapshot: Path, tmp_path: Path) -> None:
    use = table(tmp_path / "use.csv")
    lines = run("-f", snapshot, "--history", use, "-o", "patch", status=1).stdout.splitlines()
    first = json.loads(lines[0])
    assert first["target"] == {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "namespace": "team",
        "name": "chat-0-gpu",
    }
    assert first["patch"][0]["value"] == "mig.nvidia.com"


MANIFEST = """\
# who answers
apiVersion: apps/v1
kind: Deployment
metadata:
  name: chat
  namespace: team
spec:
  template:
    spec:
      containers:
      - name: main
        image: chat:1
        resources:
          limits:
            nvidia.com/gpu: 1  # one whole
"""


def test_a_diff_for_a_folder_is_applied_by_git_and_leaves_nothing_to_change(tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    (folder / "apps").mkdir(parents=True)
    (folder / "apps" / "chat.yaml").write_text(MANIFEST)
    (folder / "broken.yaml").write_text("a: [")
    use = table(tmp_path / "use.csv", workload="chat")
    arguments = (
        *("--history", use, "--fleet", "A100", "--had", "A100", "--modes", "mig", "--diff", folder),
        *("--no-simulate",),
    )
    found = run(*arguments, status=1)
    assert "+            nvidia.com/mig-1g.10gb: 1  # one whole" in found.stdout
    assert "broken.yaml: is passed over" in found.stderr
    subprocess.run(["git", "apply", "-p1"], input=found.stdout.encode(), cwd=folder, check=True, timeout=30)
    changed = (folder / "apps" / "chat.yaml").read_text()
    assert changed == MANIFEST.replace("nvidia.com/gpu: 1", "nvidia.com/mig-1g.10gb: 1")
    assert "nothing in these manifests" in run(*arguments, status=0).stderr


TEMPLATES = """\
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata:
  name: one-gpu
spec:
  spec:
    devices:
      requests:
      - name: gpu
        exactly:
          deviceClassName: gpu.nvidia.com  # whole
"""

USER = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  template:
    spec:
      resourceClaims: [{name: gpu, resourceClaimTemplateName: one-gpu}]
      containers: [{name: main, image: x}]
"""


def test_a_claim_template_in_another_file_is_changed_for_the_deployment_that_uses_it(tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "template.yaml").write_text(TEMPLATES)
    (folder / "chat.yaml").write_text(USER.replace("NAME", "chat"))
    use = table(tmp_path / "use.csv", workload="chat")
    fleet = ("--fleet", "A100", "--had", "A100", "--modes", "mig")
    found = run("--history", use, *fleet, "--diff", folder, status=1).stdout
    assert "--- a/template.yaml" in found
    assert "+          deviceClassName: mig.nvidia.com  # whole" in found
    assert "chat.yaml" not in found


def test_a_template_of_workloads_with_different_needs_is_left_alone_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "template.yaml").write_text(TEMPLATES)
    for name in ("chat", "rank"):
        (folder / f"{name}.yaml").write_text(USER.replace("NAME", name))
    small = table(tmp_path / "small.csv", pods=1, workload="chat")
    large = table(tmp_path / "large.csv", pods=1, gib=30.0, workload="rank")
    large.write_text(large.read_text().replace("chat-0", "rank-0"))
    fleet = ("--fleet", "A100", "--had", "A100", "--modes", "mig")
    found = run("--history", small, "--history", large, *fleet, "--diff", folder, status=0)
    assert found.stdout == ""
    assert "is used by workloads that need different parts" in found.stderr


def test_layouts_for_the_demand(snapshot: Path, tmp_path: Path) -> None:
    use = table(tmp_path / "use.csv")
    found = run("-f", snapshot, "--history", use, "--repartition", status=1).stdout
    assert "2x1g.10gb" in found
    assert "1 GPUs in use afterwards, 0 pods have to leave; no plan is better" in found


def test_a_backtest_of_a_table(tmp_path: Path) -> None:
    use = table(tmp_path / "use.csv")
    found = run("--history", use, "--fleet", "A100,H100", "--backtest", "-o", "json", status=0).stdout
    item = json.loads(found)["items"][0]
    assert (item["sized"], item["overMs"]) == (2, 0)
    assert item["wholeDevices"] == 2
    assert item["devices"] == 1


BOOK = """\
apiVersion: aliquot.dev/v1alpha1
kind: PriceBook
currency: EUR
prices:
- {name: our racks, basis: own, match: {model: "NVIDIA H100*"}, perNodeHour: 8}
"""


def test_savings_are_in_the_money_of_the_ledgers_price_book(snapshot: Path, tmp_path: Path) -> None:
    use = table(tmp_path / "use.csv")
    (tmp_path / "prices.yaml").write_text(BOOK)
    base = ("-f", snapshot, "--history", use, "--no-simulate")
    found = json.loads(run(*base, "--prices", tmp_path / "prices.yaml", "-o", "json", status=1).stdout)
    # A node of eight costs 8 an hour, so that each of two pods gives 7/8 of 1 back.
    assert found["summary"]["microsPerHour"] == pytest.approx(2 * 7 / 8 * 1_000_000, abs=2)
    assert found["summary"]["currency"] == "EUR"
    price = {"microsPerHour": 1_000_000, "name": "our racks", "assumed": False}
    assert found["summary"]["prices"] == {"H100-SXM5-80GB": price}
    told = run(*base, "--prices", tmp_path / "prices.yaml", status=1)
    assert "saves 1.75 EUR an hour" in told.stdout
    assert "nobody says" not in told.stderr


def test_a_price_that_nobody_confirmed_is_marked(snapshot: Path, tmp_path: Path) -> None:
    base = ("-f", snapshot, "--history", table(tmp_path / "use.csv"), "--no-simulate")
    found = json.loads(run(*base, "-o", "json", status=1).stdout)
    assert found["summary"]["prices"]["H100-SXM5-80GB"]["assumed"] is True
    assert "nobody says what H100-SXM5-80GB" in run(*base, status=1).stderr
    assert "nobody says" not in run(*base, "--price", "H100=2", status=1).stderr


def test_prices_change_what_is_chosen(tmp_path: Path) -> None:
    use = table(tmp_path / "use.csv")
    base = ("--history", use, "--fleet", "A10,A100", "--modes", "mps", "-o", "yaml")
    cheap = run(*base, "--price", "A10=0.1", "--price", "A100=9", status=1).stdout
    dear = run(*base, "--price", "A10=9", "--price", "A100=0.1", status=1).stdout
    assert yaml.safe_load(cheap)["items"][0]["part"]["accelerator"] == "A10"
    assert yaml.safe_load(dear)["items"][0]["part"]["accelerator"] == "A100-SXM4-80GB"


def test_a_policy_comes_from_a_file(tmp_path: Path) -> None:
    use = table(tmp_path / "use.csv")
    policy = tmp_path / "policy.yaml"
    policy.write_text("isolation: fault\nleastHours: 1\nmodes: [exclusive, mig]\n")
    found = run("--history", use, "--fleet", "A100", "--policy", policy, "-o", "json", status=1).stdout
    assert json.loads(found)["items"][0]["part"]["mode"] == "mig"


@pytest.mark.parametrize(
    ("option", "text", "problem"),
    [
        ("--policy", "margin: 3\n", "unknown field `margin`"),
        ("--policy", "modes: [magic]\n", "magic"),
        ("--policy", "isolationOf: {a: some}\n", "'some' is no isolation"),
        ("--idle", "rules: [{dryrun: false}]\n", "unknown field `dryrun`"),
    ],
)
def test_a_policy_with_a_mistake_is_refused(tmp_path: Path, option: str, text: str, problem: str) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(text)
    use = table(tmp_path / "use.csv", hours=1)
    assert problem in failure("--history", use, "--fleet", "A100", option, policy)


def test_a_page_is_one_file(tmp_path: Path) -> None:
    use = table(tmp_path / "use.csv")
    page = run(
        "--history", use, "--fleet", "A100,H100", "--each", "--together", "-o", "html", status=1
    ).stdout
    assert page.startswith("<!doctype html>")
    assert "A100-SXM4-80GB, together" in page
    assert "http://" not in page
    assert "<script" not in page


def test_what_a_policy_on_idle_workloads_would_do(snapshot: Path, tmp_path: Path) -> None:
    use = table(tmp_path / "use.csv", hours=3)
    use.write_text(use.read_text().replace(",5\n", ",0\n"))
    policy = tmp_path / "idle.yaml"
    policy.write_text("rules:\n- steps: [{step: notify, afterSeconds: 3600}]\n")
    found = run("-f", snapshot, "--history", use, "--idle", policy, status=1).stdout
    automation = tmp_path / "automation.yaml"
    automation.write_text("idle: {rules: [{dryRun: true}]}\nsizes: {queues: [a]}\n")
    assert run("-f", snapshot, "--history", use, "--idle", automation, status=1).stdout == found
    assert "pod/chat-0" in found
    assert "notify (dry run)" in found
    items = json.loads(run("-f", snapshot, "--history", use, "--idle", policy, "-o", "json", status=1).stdout)
    assert [item["acts"] for item in items["items"]] == [[], []]


def test_a_kept_history_is_read_like_a_table(snapshot: Path, tmp_path: Path) -> None:
    kept = tmp_path / "usage.db"
    with UsageHistory.open(kept) as history:
        history.write(used(cluster(2), 8.0, 5.0), 1000 * (START + 49 * 3600))
    at = ("--at", "2023-11-16T23:00:00Z")
    found = json.loads(run("-f", snapshot, "--history", kept, *at, "-o", "json", status=1).stdout)
    assert {item["part"]["name"] for item in found["items"]} == {"1g.10gb"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no columns time, pod and memory_bytes"),
        ("a,b\n1,2\n", "there are a, b"),
        (HEADER + "x,team,,p,g,1,1\n", "line 2, time: 'x' is no time"),
        (HEADER + "1700000000000,team,,p,g,1,1\n", "not in seconds since 1970"),
        (HEADER + "1700000000,team,,p,g,-1,1\n", "line 2, memory_bytes: '-1' is no amount"),
        (HEADER + "1700000000,team,,p,g,nan,1\n", "'nan' is no amount"),
        (HEADER + "1700000000,team,p\n", "line 2: has 3 cells of 7"),
        (HEADER, "there are no samples"),
    ],
)
def test_a_table_that_cannot_be_read_names_the_place(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "use.csv"
    path.write_text(text)
    assert problem in failure("--history", path, "--fleet", "A100")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--fleet", "Voodoo2"), "there is no such model; there are A10"),
        (("--price", "A10"), "write MODEL=AMOUNT"),
        (("--modes", "magic"), "'magic' is none; there are exclusive"),
        (("--risk", "2"), "no probability"),
        ((), "name models with --fleet"),
        (("--fleet", "A100", "--repartition", "--modes", "mig"), "no GPU has the profile"),
    ],
)
def test_what_is_wrong_is_named_with_its_fix(
    tmp_path: Path, arguments: tuple[str, ...], problem: str
) -> None:
    assert problem in failure("--history", table(tmp_path / "use.csv", hours=12), *arguments)
