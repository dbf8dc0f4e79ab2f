"""Record what the cluster named by ALIQUOT_REAL_KUBECONFIG answers: `python -m tests.conformance.record`."""

import json
import os
import sys

from tests.conformance import transcripts
from tests.conformance.resources import Space
from tests.conformance.server import SECONDS, Api, real_connection


def main(wanted: list[str]) -> None:
    connection = real_connection()
    if connection is None:
        sys.exit("set ALIQUOT_REAL_KUBECONFIG to the kubeconfig of the cluster to record")
    api = Api(connection)
    version, minor = api.version
    if minor != transcripts.MINOR:
        sys.exit(f"the cluster is {version}; the answers are those of 1.{transcripts.MINOR}")
    for topic in wanted or transcripts.topics():
        recorded = {}
        for number, (name, steps) in enumerate(transcripts.requests(topic).items()):
            space = Space(api, f"record-{os.getpid()}-{topic}-{number}")
            space.open(SECONDS)
            recorded[name] = list(transcripts.run(space, steps))
            space.close()
        path = transcripts.FOLDER / "answers" / f"{topic}.json"
        path.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n")
        sys.stdout.write(f"{topic}: {sum(map(len, recorded.values()))} answers of {version}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
