"""`aliquot up` as a person runs it, and kubectl against it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def kubectl_path() -> str:
    """The real kubectl; without it these tests are skipped on a laptop and fail in CI."""
    found = shutil.which("kubectl")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("kubectl is not installed")
        pytest.skip("kubectl is not installed")
    return found


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Return once the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.1)


@dataclass
class Cluster:
    """A running `aliquot up`."""

    process: subprocess.Popen[str]
    kubeconfig: Path
    page: str
    state: Path

    def environment(self) -> dict[str, str]:
        scripts = str(Path(sys.executable).parent)
        return {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": scripts + os.pathsep + os.environ["PATH"],
            "NO_COLOR": "1",
        }

    def run(
        self, *command: str, check: bool = True, stdin: str | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            env=self.environment(),
            cwd=ROOT,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            pytest.fail(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def kubectl(self, *arguments: str, check: bool = True, stdin: str | None = None) -> str:
        return self.run(kubectl_path(), *arguments, check=check, stdin=stdin).stdout

    def aliquot(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "aliquot", *arguments, check=check)

    def objects(self, kind: str, *arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", kind, "-o", "json", *arguments))["items"]
        return found

    def wait(self, kind: str, names: str, condition: str, namespace: str, seconds: int = 60) -> None:
        self.kubectl(
            "wait", kind, *names.split(), f"--for={condition}", "-n", namespace, f"--timeout={seconds}s"
        )

    def wait_running(self, names: str, namespace: str, seconds: int = 60) -> None:
        self.wait("pod", names, "jsonpath={.status.phase}=Running", namespace, seconds)

    def delete(self, namespace: str, *arguments: str, stdin: str | None = None) -> None:
        """`kubectl delete` with these arguments; wait until the namespace has neither pods nor claims.

        The namespace goes five seconds after that, as in any cluster, and is not waited for.
        """
        self.kubectl("delete", *arguments, "--wait=false", stdin=stdin)
        until(lambda: not self.objects("pods,resourceclaims", "-n", namespace), 60)

    def held_devices(self) -> list[tuple[str, str, str]]:
        """(driver, pool, device) of every device in an allocation, one entry per claim that has it."""
        return [
            (result["driver"], result["pool"], result["device"])
            for claim in self.objects("resourceclaims", "-A")
            for result in claim.get("status", {}).get("allocation", {}).get("devices", {}).get("results", [])
        ]


def start(state: Path, fleet: Path) -> Cluster:
    """Start `aliquot up` on ports of its own and wait for what it prints."""
    log = state.parent / "up.log"
    with log.open("w") as notes:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "aliquot", "up"),
                *("--fleet", str(fleet), "--state", str(state), "--port", "0", "--web-port", "0"),
            ],
            stdout=subprocess.PIPE,
            stderr=notes,
            text=True,
            cwd=ROOT,
        )
    assert process.stdout is not None
    kubeconfig = page = ""
    for line in process.stdout:
        if found := re.search(r"export KUBECONFIG=(\S+)", line):
            kubeconfig = found.group(1)
        if found := re.search(r"http://\S+", line):
            page = found.group(0)
        if kubeconfig and page:
            return Cluster(process, Path(kubeconfig.strip("'\"")), page, state)
    process.wait(10)
    process.stdout.close()
    pytest.fail(f"aliquot up ended with {process.returncode} before it was ready:\n{log.read_text()}")


def stop(cluster: Cluster) -> int:
    """Ctrl-C, and the exit status that follows."""
    cluster.process.send_signal(signal.SIGINT)
    cluster.process.communicate(timeout=30)
    return cluster.process.returncode
