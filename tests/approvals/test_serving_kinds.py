"""Custom resources of serving systems are refused for weights that are of no approved model."""

import pytest
from tests.approvals.admission import DIGEST, REVISION, Object, Server

from aliquot.embedded.hooks import SYSTEM
from aliquot.embedded.status import StatusError

HF = "meta-llama/Llama-3.1-8B"
KINDS = {
    "InferenceService": ("serving.kserve.io", "v1beta1", "inferenceservices"),
    "LLMInferenceService": ("serving.kserve.io", "v1alpha1", "llminferenceservices"),
    "SeldonDeployment": ("machinelearning.seldon.io", "v1", "seldondeployments"),
    "Model": ("mlops.seldon.io", "v1alpha1", "models"),
    "RayService": ("ray.io", "v1", "rayservices"),
}


def definition(kind: str) -> Object:
    group, version, plural = KINDS[kind]
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": kind + "List"},
            "versions": [
                {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
            ],
        },
    }


@pytest.fixture(scope="module")
def server() -> Server:
    made = Server()
    for kind in KINDS:
        made.create(definition(kind))
    return made


def refusal(server: Server, kind: str, spec: Object) -> str:
    group, version, _ = KINDS[kind]
    resource = server.registry.resources.find_kind(f"{group}/{version}", kind)
    assert resource is not None
    document = {
        "apiVersion": f"{group}/{version}",
        "kind": kind,
        "metadata": {"name": "x", "namespace": "serving"},
        "spec": spec,
    }
    try:
        server.registry.create(resource, "serving", document, SYSTEM, dry_run=True)
    except StatusError as error:
        return error.message.partition("served-models.aliquot.dev' denied request: ")[2] or f"ERROR {error}"
    return ""


def kserve(**model: object) -> Object:
    return {"predictor": {"model": {"modelFormat": {"name": "huggingface"}, **model}}}


def ray(source: str, revision: str) -> Object:
    config = (
        "applications:\n- name: llms\n  import_path: ray.serve.llm:build_openai_app\n  args:\n"
        "    llm_configs:\n    - model_loading_config:\n"
        f"        model_id: my-llama\n        model_source: {source}\n"
        f"      engine_kwargs:\n        revision: {revision}\n"
    )
    return {"serveConfigV2": config}


ADMITTED = [
    ("InferenceService", kserve(storageUri=f"hf://{HF}:{REVISION}")),
    ("InferenceService", kserve(storageUri=f"oci://registry.example/models/one@{DIGEST}")),
    ("InferenceService", kserve(args=[f"--model_id={HF}", f"--revision={REVISION}"])),
    ("InferenceService", {"predictor": {"containers": [{"image": "x", "args": ["--model", "/mnt/models"]}]}}),
    ("LLMInferenceService", {"model": {"uri": f"hf://{HF}:{REVISION}"}}),
    ("SeldonDeployment", {"predictors": [{"graph": {"modelUri": f"hf://{HF}:{REVISION}"}}]}),
    ("Model", {"storageUri": "file:///models/shelf"}),
    ("RayService", ray(HF, REVISION)),
]

REFUSED = [
    ("InferenceService", kserve(storageUri="hf://evil/model"), "hf://evil/model"),
    ("InferenceService", kserve(storageUri=f"hf://{HF}"), "without a revision"),
    ("InferenceService", kserve(storageUri=f"hf://{HF}:main"), ":main"),
    ("InferenceService", kserve(storage={"key": "s3", "path": "evil"}), "storage://s3/evil"),
    ("InferenceService", kserve(args=["--model_id=evil/model"]), "evil/model"),
    ("InferenceService", kserve(env=[{"name": "MODEL_ID", "value": "evil/model"}]), "evil/model"),
    ("InferenceService", {"predictor": {"huggingface": {"storageUri": "hf://evil/model"}}}, "evil/model"),
    (
        "InferenceService",
        {"predictor": {"containers": [{"image": "x", "args": ["--model", "evil/model"]}]}},
        "evil/model",
    ),
    (
        "InferenceService",
        {**kserve(storageUri=f"hf://{HF}:{REVISION}"), "transformer": {"model": {"storageUri": "s3://evil"}}},
        "s3://evil",
    ),
    ("LLMInferenceService", {"model": {"uri": "hf://evil/model"}}, "evil/model"),
    (
        "LLMInferenceService",
        {
            "model": {
                "uri": f"hf://{HF}:{REVISION}",
                "lora": {"adapters": [{"name": "x", "uri": "hf://evil/lora"}]},
            }
        },
        "evil/lora",
    ),
    ("SeldonDeployment", {"predictors": [{"graph": {"modelUri": "gs://evil"}}]}, "gs://evil"),
    (
        "SeldonDeployment",
        {"predictors": [{"graph": {"name": "r", "children": [{"modelUri": "gs://evil"}]}}]},
        "gs://evil",
    ),
    (
        "SeldonDeployment",
        {"predictors": [{"graph": {"children": [{"children": [{"modelUri": "gs://evil"}]}]}}]},
        "more than two levels",
    ),
    ("Model", {"storageUri": "gs://evil"}, "gs://evil"),
    ("RayService", ray("evil/model", REVISION), "evil/model"),
    ("RayService", ray(HF, "main"), "at revision main"),
]


@pytest.mark.parametrize(("kind", "spec"), ADMITTED)
def test_resources_that_name_approved_weights_are_admitted(server: Server, kind: str, spec: Object) -> None:
    assert refusal(server, kind, spec) == ""


@pytest.mark.parametrize(("kind", "spec", "word"), REFUSED)
def test_resources_that_name_other_weights_are_refused(
    server: Server, kind: str, spec: Object, word: str
) -> None:
    assert word in refusal(server, kind, spec)
