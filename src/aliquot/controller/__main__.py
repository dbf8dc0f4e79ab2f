"""`python -m aliquot.controller`: the controller alone, without the rest of the command line."""

import argparse
import asyncio
import logging
import os
import signal
import socket
from pathlib import Path

from aliquot.controller.run import ControllerConfig, run
from aliquot.kube.config import default_paths, in_cluster, load_kubeconfig
from aliquot.scheduling.policy import Policy
from aliquot.store.journal import Journal


async def _run(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if arguments.kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
        connection = in_cluster(os.environ)
    else:
        paths = [arguments.kubeconfig] if arguments.kubeconfig else default_paths(os.environ)
        connection = load_kubeconfig(paths)
    config = ControllerConfig(
        connection=connection,
        identity=f"{socket.gethostname()}_{os.getpid()}_{os.urandom(4).hex()}",
        lease_namespace=arguments.lease_namespace,
        lease_seconds=arguments.lease_seconds,
    )
    with Journal.open(arguments.journal) as journal:
        await run(config, Policy(), journal=journal, stop=stop)


def main() -> None:
    parser = argparse.ArgumentParser(prog="aliquot.controller")
    parser.add_argument(
        "--kubeconfig", type=Path, help="the kubeconfig file; as kubectl finds it if left out"
    )
    parser.add_argument("--journal", type=Path, default=Path("journal.db"), help="the journal file")
    parser.add_argument("--lease-namespace", default="aliquot-system")
    parser.add_argument("--lease-seconds", type=int, default=15)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
