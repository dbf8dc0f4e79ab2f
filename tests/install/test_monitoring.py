"""Dashboard and alerts speak of metrics that the controller has."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry
from tests.install.rendering import ROOT

from aliquot import manifests
from aliquot.controller.live import Live
from aliquot.controller.metrics import Metrics, StateCollector
from aliquot.kube.clock import SystemClock

OBJECTS = {one["kind"]: one for one in manifests.load(part=manifests.MONITORING)}


def expressions() -> list[str]:
    """Every PromQL expression that is shipped."""
    dashboard = json.loads(OBJECTS["ConfigMap"]["data"]["aliquot.json"])
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = OBJECTS["PrometheusRule"]["spec"]["groups"]
    return found + [rule["expr"] for group in rules for rule in group["rules"]]


def known() -> dict[str, set[str]]:
    """Sample names of the controller's metrics with their labels."""

    class Mirror:
        complete = True
        problems = ()

        def states(self) -> list[Any]:
            return []

    registry = CollectorRegistry()
    Metrics(registry)
    registry.register(StateCollector(Live(), Mirror(), SystemClock(), dict))  # type: ignore[arg-type]
    found: dict[str, set[str]] = {}
    for collector in list(registry._collector_to_names):
        labels = set(getattr(collector, "_labelnames", ()))
        for metric in collector.collect():
            named = labels | set(getattr(metric, "_labelnames", ()))
            for suffix in {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(
                metric.type, ("",)
            ):
                found[metric.name + suffix] = named | ({"le"} if suffix == "_bucket" else set())
    return found


def test_every_metric_is_one_of_the_controllers() -> None:
    names = known()
    for expression in expressions():
        asked = set(re.findall(r"\baliquot_\w+", expression))
        assert asked, expression
        assert asked <= set(names), expression


def test_labels_are_those_of_the_metrics() -> None:
    names = known()
    for expression in expressions():
        (metric,) = set(re.findall(r"\baliquot_\w+", expression))
        for group in re.findall(r"by \(([^)]*)\)", expression):
            assert set(re.split(r",\s*", group)) <= names[metric], expression
        for label in re.findall(r"(\w+)\s*(?:=~|!=|=)\s*\"", expression):
            assert label in names[metric], expression


def test_every_metric_of_the_controller_is_in_its_document() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    for name in known():
        base = re.sub(r"_(bucket|count|sum)$", "", name)
        assert f"`{base}`" in text, base


def test_prometheus_reads_the_rules_and_every_expression(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian's prometheus)")
    rules = OBJECTS["PrometheusRule"]["spec"]
    numbered = enumerate(expressions())
    rules["groups"].append(
        {
            "name": "panels",
            "rules": [{"record": f"panel:{number}", "expr": text} for number, text in numbered],
        }
    )
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    done = subprocess.run(
        [promtool, "check", "rules", str(tmp_path / "rules.yaml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_panels_do_not_overlap_and_have_numbers_of_their_own() -> None:
    dashboard = json.loads(OBJECTS["ConfigMap"]["data"]["aliquot.json"])
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_the_image_installs_only_what_is_named_with_its_hash_and_runs_as_nobody() -> None:
    text = (ROOT / "Dockerfile").read_text()
    for line in re.findall(r"pip .*?install(?:.|\\\n)*?(?=\n\S|\n &&|\Z)", text):
        assert "--require-hashes" in line
        assert "--only-binary :all:" in line
    assert "apt-get" not in text
    (deployment,) = (one for one in manifests.load(part=manifests.DEPLOYMENT) if one["kind"] == "Deployment")
    user = deployment["spec"]["template"]["spec"]["securityContext"]["runAsUser"]
    assert f"USER {user}:{user}" in text
    assert text.rstrip().splitlines()[-2] == 'ENTRYPOINT ["/opt/aliquot/bin/aliquot"]'
    for source in re.findall(r"^COPY (?!--from)(\S+)", text, re.MULTILINE):
        assert f"!{source}" in (ROOT / ".dockerignore").read_text().splitlines()
        assert (ROOT / source).exists()
