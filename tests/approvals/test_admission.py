"""Which workloads the API server admits, by the policy; and the ways around it that were thought of."""

from typing import Any

import msgspec
import pytest
from tests.approvals.admission import (
    DIGEST,
    LLAMA,
    MODELS,
    OTHER,
    REVISION,
    SHELF,
    Object,
    Server,
    container,
    in_template,
    pod,
)

from aliquot.approvals.model import Weights
from aliquot.approvals.roster import changed, roster
from aliquot.embedded.hooks import SYSTEM
from aliquot.embedded.status import StatusError

HF = "meta-llama/Llama-3.1-8B"
PIN = f"--revision={REVISION}"
TGI = "ghcr.io/huggingface/text-generation-inference:3"
INITIALIZER = "kserve/storage-initializer:v0.15"


@pytest.fixture(scope="module")
def server() -> Server:
    return Server()


def refusal(server: Server, document: Object) -> str:
    """Why it is refused, "" if it is admitted."""
    resource = server.registry.resources.find_kind(document["apiVersion"], document["kind"])
    assert resource is not None
    try:
        server.registry.create(
            resource, document["metadata"].get("namespace"), document, SYSTEM, dry_run=True
        )
    except StatusError as error:
        # Whatever else is wrong with a document stands before "denied request" or has none.
        return error.message.partition("models.aliquot.dev' denied request: ")[2] or f"ERROR {error}"
    return ""


def initialized(uri: str, *words: str) -> Object:
    """As KServe makes it: an init container loads the weights, the server reads a folder."""
    return pod(
        container(*words, image="kserve/huggingfaceserver:v0.15"),
        initContainers=[{"name": "i", "image": INITIALIZER, "args": [uri, "/mnt/models"]}],
    )


def with_image(reference: str, path: str) -> Object:
    mounts = [{"name": "weights", "mountPath": "/weights"}]
    return pod(
        container("--model", path, volumeMounts=mounts),
        volumes=[{"name": "weights", "image": {"reference": reference}}],
    )


ADMITTED = {
    "vllm, one word": pod(container(f"--model={HF}", PIN)),
    "vllm, two words": pod(container("--model", HF, "--revision", REVISION)),
    "vllm serve": pod(container(HF, PIN, command=["vllm", "serve"])),
    "python module": pod(
        container("-m", "vllm.entrypoints.openai.api_server", "--model", HF, PIN, command=["python3"])
    ),
    "shell": pod(container("-c", f"exec vllm serve {HF} {PIN}", image="mine", command=["sh"])),
    "approved adapter": pod(container("--model", HF, PIN, "--lora-modules", "sql=team/sql-lora")),
    "tgi by arguments": pod(container("--model-id", HF, PIN, image=TGI)),
    "tgi by variables": pod(container(image=TGI, env={"MODEL_ID": HF, "REVISION": REVISION})),
    "sglang": pod(container("-m", "sglang.launch_server", "--model-path", HF, PIN, image="lmsysorg/sglang")),
    "label as well": pod(container("--model", HF, PIN), label="llama-3.1-8b"),
    "label of an image of one's own": pod(container(image="registry.example/server:1"), label="llama-3.1-8b"),
    "path that is approved": pod(container("--model", "/models/shelf")),
    "kserve": initialized(f"hf://{HF}:{REVISION}", "--model_dir", "/mnt/models", "--model_name", "x"),
    "volume of an image": with_image(f"registry.example/models/one@{DIGEST}", "/weights/one"),
    "no server": pod(container("train.py", "--model", "anything/at-all", image="pytorch/pytorch")),
    "no server, with a GPU": pod(
        container("train.py", image="pytorch/pytorch", resources={"limits": {"nvidia.com/gpu": "1"}})
    ),
    "another namespace": pod(container("--model", "any/thing"), namespace="free"),
    "isolated enough": pod(container("--model", "wild/Model", PIN), namespace="sandbox", label="caged"),
}

REFUSED = {
    "unknown model": (pod(container("--model", "evil/model", PIN)), "hf://evil/model at revision"),
    "no revision": (pod(container("--model", HF)), "without a revision"),
    "another revision": (pod(container("--model", HF, f"--revision={OTHER}")), OTHER),
    "two revisions, the last wins": (pod(container("--model", HF, PIN, f"--revision={OTHER}")), OTHER),
    "a branch": (pod(container("--model", HF, "--revision", "main")), "at revision main"),
    "two models, the last wins": (pod(container("--model", HF, PIN, "--model", "evil/model")), "evil/model"),
    "alias of an approved name": (
        pod(container("--model", "evil/model", PIN, "--served-model-name", "llama-3.1-8b")),
        "evil/model",
    ),
    "approved label, other weights": (
        pod(container("--model", "evil/model", PIN), label="llama-3.1-8b"),
        "under the label llama-3.1-8b",
    ),
    "label of another approved model": (pod(container("--model", HF, PIN), label="shelf"), HF),
    "revoked": (pod(container("--model", "bad/model", PIN)), "bad/model"),
    "revoked label": (pod(container(image="mine"), label="revoked"), "may not run"),
    "unknown label": (pod(container(image="mine"), label="nobody"), "may not run"),
    "namespace not allowed": (pod(container("--model", "else/where", PIN)), "else/where"),
    "not isolated enough": (pod(container("--model", "wild/Model", PIN)), "wild/Model"),
    "quoted in a shell": (
        pod(container("-c", 'vllm serve "evil/model" --revision "x"', image="mine", command=["bash"])),
        "evil/model",
    ),
    "lines and tabs in a shell": (
        pod(container("-c", f"vllm\\\n\tserve\t\\\n evil/model {PIN}", image="mine", command=["sh"])),
        "evil/model",
    ),
    "full path": (pod(container("-c", f"/opt/bin/vllm serve evil/model {PIN}", image="mine")), "evil/model"),
    "image renamed, module kept": (
        pod(container("-m", "vllm.entrypoints.openai.api_server", "--model=evil/model", image="mine")),
        "evil/model",
    ),
    "variable in the arguments": (
        pod(container("--model", "$(MODEL)", PIN, env={"MODEL": "evil/model"})),
        "hf://$(MODEL)",
    ),
    "variable from a ConfigMap": (
        pod(container(image=TGI, env={"MODEL_ID": {"configMapKeyRef": {"name": "c", "key": "m"}}})),
        "hf://$",
    ),
    "all variables from a ConfigMap": (
        pod(container("--model", HF, PIN, envFrom=[{"configMapRef": {"name": "c"}}])),
        "cannot be seen because of envFrom",
    ),
    "file of settings": (pod(container("--model", HF, PIN, "--config", "/etc/x.yaml")), "--config"),
    "other hub": (pod(container("--model", HF, PIN, env={"HF_ENDPOINT": "https://evil"})), "HF_ENDPOINT"),
    "ModelScope": (pod(container("--model", HF, PIN, env={"VLLM_USE_MODELSCOPE": "True"})), "MODELSCOPE"),
    "adapter that is not approved": (
        pod(container("--model", HF, PIN, "--lora-modules", "sql=team/sql-lora", "x=evil/lora")),
        "evil/lora",
    ),
    "adapter as JSON": (
        pod(container("--model", HF, PIN, "--lora-modules", '{"name":"x","path":"evil/lora"}')),
        "evil/lora",
    ),
    "adapters at run time": (
        pod(container("--model", HF, PIN, env={"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"})),
        "RUNTIME_LORA",
    ),
    "draft model": (
        pod(container("--model", HF, PIN, "--speculative-config", '{"model": "evil/draft"}')),
        "evil/draft",
    ),
    "underscore for a dash": (pod(container("--model_path", "evil/model", image="lmsysorg/sglang")), "evil"),
    "abbreviated": (pod(container("--model-pa", "evil/model", image="lmsysorg/sglang")), "evil/model"),
    "path": (pod(container("--model", "/mnt/any")), "file:///mnt/any"),
    "path that leaves the folder": (
        initialized(f"hf://{HF}:{REVISION}", "--model_dir", "/mnt/models-evil"),
        "file:///mnt/models-evil",
    ),
    "kserve, other weights": (initialized("hf://evil/model", "--model_dir", "/mnt/models"), "evil/model"),
    "kserve, branch": (initialized(f"hf://{HF}:main", "--model_dir", "/mnt/models"), "main"),
    "volume of an image by tag": (
        with_image("registry.example/models/one:latest", "/weights/one"),
        "models/one:latest",
    ),
    "in an init container": (
        pod(
            container(image="pause"),
            initContainers=[container("--model", "evil/model", name="i", restartPolicy="Always")],
        ),
        "evil/model",
    ),
    "second container": (pod(container("--model", HF, PIN), container("--model", "evil/m", PIN)), "evil/m"),
    "model behind other flags": (
        pod(container("--port", "80", "evil/model", command=["vllm", "serve"])),
        "cannot be seen",
    ),
    "server without a model": (pod(container()), "cannot be seen"),
    "llama.cpp": (pod(container("-hf", "evil/gguf:Q4", image="ghcr.io/ggml-org/llama.cpp:server")), "evil"),
    "llama.cpp file": (pod(container("-m", "/m.gguf", command=["llama-server"])), "file:///m.gguf"),
    "ollama": (pod(container("run", "evil", image="ollama/ollama", command=["ollama"])), "hf://evil"),
    "strict namespace without a label": (
        pod(
            container(image="mine", resources={"limits": {"nvidia.com/gpu": "1"}}),
            namespace="sandbox",
        ),
        "names an approved model in the label",
    ),
    "line ends in a name": (
        pod(container("--model", f"evil/model\nnamespace serving\nexact {HF}", PIN)),
        "evil/model",
    ),
}


@pytest.mark.parametrize("name", ADMITTED)
def test_approved_models_run(server: Server, name: str) -> None:
    assert refusal(server, ADMITTED[name]) == ""


@pytest.mark.parametrize("name", REFUSED)
def test_other_weights_and_ways_to_hide_them_are_refused(server: Server, name: str) -> None:
    document, word = REFUSED[name]

    assert word in refusal(server, document)


KINDS = ["Deployment", "StatefulSet", "ReplicaSet", "DaemonSet", "Job", "CronJob"]


@pytest.mark.parametrize("kind", KINDS)
def test_templates_are_looked_at_before_there_are_pods(server: Server, kind: str) -> None:
    good = pod(container("--model", HF, PIN), label="llama-3.1-8b")
    bad = pod(container("--model", "evil/model", PIN), label="llama-3.1-8b")

    assert refusal(server, in_template(kind, good)) == ""
    assert "evil/model" in refusal(server, in_template(kind, bad))


def test_what_runs_can_be_labelled_and_finalized_after_its_model_was_revoked_but_not_made_again() -> None:
    server = Server()
    workload = server.create(in_template("Deployment", pod(container("--model", HF, PIN))))
    running = server.create(pod(container("--model", HF, PIN)))
    server.publish((SHELF,))

    for made in (workload, running):
        made["metadata"].setdefault("annotations", {})["note"] = "x"
        server.update(made)
    assert HF in refusal(server, pod(container("--model", HF, PIN), name="q"))
    changed = server.registry.get(
        server.registry.resources.named("deployments", "apps"), "serving", workload["metadata"]["name"]
    )
    changed["spec"]["template"]["spec"]["containers"][0]["args"].append("--port=81")
    with pytest.raises(StatusError, match="no approved model"):
        server.update(changed)


def test_a_label_cannot_be_changed_to_a_model_that_may_not_run() -> None:
    server = Server()
    made = server.create(pod(container(image="mine"), label="llama-3.1-8b"))
    made["metadata"]["labels"]["aliquot.dev/model"] = "revoked"

    with pytest.raises(StatusError, match="may not run"):
        server.update(made)


def test_without_the_roster_nothing_that_serves_gets_in() -> None:
    server = Server()
    resource = server.registry.resources.named("configmaps", "")
    server.registry.delete(resource, "aliquot-system", "aliquot-models", SYSTEM)

    assert "no params found" in refusal(server, pod(container("--model", HF, PIN)))


def test_a_roster_says_nothing_of_models_that_may_not_run() -> None:
    made = roster(MODELS)
    assert set(made) == {"llama-3.1-8b", "shelf", "artefact", "caged", "elsewhere"}
    patch: dict[str, Any] = changed(made, roster((LLAMA,)))
    assert patch == {"shelf": None, "artefact": None, "caged": None, "elsewhere": None}
    assert changed(made, made) == {}


def test_a_thousand_models_are_within_what_a_policy_may_cost() -> None:
    server = Server()
    many = tuple(
        msgspec.structs.replace(
            LLAMA,
            name=f"m{number}",
            weights=Weights(source=f"hf://org/model-{number}", revision=REVISION),
        )
        for number in range(1000)
    )
    server.publish(many)

    adapters = [f"a{number}=org/model-{number}" for number in range(4)]
    assert refusal(server, pod(container("--model", "org/model-999", PIN))) == ""
    assert "evil/model" in refusal(server, pod(container("--model", "evil/model", PIN)))
    lora = refusal(server, pod(container("--model", "org/model-1", PIN, "--lora-modules", *adapters)))
    assert lora == ""
