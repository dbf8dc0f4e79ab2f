"""Which weights a pod serves, as far as that can be seen: for lists of what still runs.

The same flags, variables and images as the admission policy looks for (policy-models.yaml; a test holds both
against the same table). What the policy refuses as hidden is not found here either: such a pod was admitted
before, or in a namespace where nothing is enforced.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from aliquot.approvals.documents import ServingWorkload
from aliquot.approvals.model import ApprovedModel
from aliquot.approvals.roster import lines

LABEL = "aliquot.dev/model"
"""Label of a pod: the name of the ApprovedModel that it serves."""

_SERVERS = re.compile(
    r" image:[^ ]*(vllm|text-generation-inference|text-embeddings-inference|sglang|lmdeploy|huggingfaceserver"
    r"|storage-initializer|llama[.]cpp|llama-cpp|ollama|tritonserver|tensorrt-llm|nvcr[.]io/nim/|mlc-llm"
    r"|aphrodite|tabbyapi|xinference|localai|tgi)[^ ]* "
    r"|[ /](vllm|lmdeploy|mlc_llm|ollama|trtllm-serve|xinference|aphrodite) +"
    r"(serve|run|pull|launch|api_server)"
    r"|[ /](vllm[.]entrypoints|text-generation-launcher|text-generation-server|text-embeddings-router"
    r"|sglang[.]launch_server|llama-server|llama_cpp[.]server|tritonserver|huggingfaceserver|trtllm-serve"
    r"|aphrodite[.]endpoints|lmdeploy[.]serve)"
    r"|[ /;&|(](vllm|tgi|sglang) "
    r"|env:(MODEL_ID|HF_MODEL_ID|NIM_MODEL_NAME|NIM_MODEL_PROFILE|LLAMA_ARG_MODEL|LLAMA_ARG_HF_REPO"
    r"|LLAMA_ARG_MODEL_URL|OLLAMA_MODEL|VLLM_MODEL) "
)
_NAMED = re.compile(
    r" (?:--model|--model[-_](?:id|path|dir|name[-_]or[-_]path|repository|store|url|i|p|pa|pat|d|di)"
    r"|--hf[-_]repo(?:-v|-draft)?|--hf[-_]model|--lora|--control-vector|--model-draft|--draft-model[a-z_-]*"
    r"|-hf|-hfr|-hfd|-mu|-md|(?:[^ ]*/)?vllm +serve|(?:[^ ]*/)?lmdeploy +serve +api_server"
    r"|(?:[^ ]*/)?trtllm-serve(?: +serve)?|(?:[^ ]*/)?mlc_llm +serve|(?:[^ ]*/)?ollama +(?:run|pull)"
    r"|text-generation-server +(?:serve|download-weights)|env:(?:MODEL_ID|HF_MODEL_ID|NIM_MODEL_NAME"
    r"|LLAMA_ARG_MODEL|LLAMA_ARG_HF_REPO|LLAMA_ARG_MODEL_URL|OLLAMA_MODEL|VLLM_MODEL|SPECULATOR)) +([^ ]+)"
)
_LLAMA_CPP = re.compile(r"llama-server|llama[.]cpp|llama-cpp|llama_cpp")
_LLAMA_MODEL = re.compile(r" -m +([^ ]+)")
_BESIDE = re.compile(
    r" --(?:lora[-_]modules|lora[-_]adapters?|lora[-_]paths|speculative[-_]config|speculative[-_]model"
    r"|speculative[-_]draft[-_]model[-_]path)((?: +[^- ][^ ]*)+)"
)
_REVISION = re.compile(r" (?:--revision|env:REVISION) +([^ ]+)")
_SEPARATORS = str.maketrans(dict.fromkeys("\n\t\"'=\\,;", " "))
MAX_TEXT = 1 << 20
"""A container that says more, in characters, is read up to there."""


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """What a pod serves. label: of LABEL, "" if it has none. references: URIs. revisions: that it names."""

    label: str = ""
    references: tuple[str, ...] = ()
    revisions: tuple[str, ...] = ()

    def by(self, model: ApprovedModel) -> bool:
        """Whether it serves this model (a label alone is taken for the word of whoever wrote it)."""
        if self.label == model.name:
            return True
        known = frozenset(lines(model))
        return any(
            f"exact {reference}" in known
            or (
                f"source {reference}" in known
                and bool(self.revisions)
                and all(f"revision {revision}" in known for revision in self.revisions)
            )
            for reference in self.references
        )


def serving(pod: Mapping[str, Any]) -> Serving:
    """What a pod (a v1 Pod document, or a pod template) serves."""
    spec = _mapping(pod.get("spec"))
    labels = _mapping(_mapping(pod.get("metadata")).get("labels"))
    containers = [
        _mapping(one)
        for field in ("containers", "initContainers", "ephemeralContainers")
        for one in spec.get(field) or ()
    ]
    texts = [text for one in containers if _SERVERS.search(text := _text(one))]
    whole = " ".join(texts)
    images = [
        _mapping(volume)
        for volume in spec.get("volumes") or ()
        if _mapping(_mapping(volume).get("image")).get("reference")
    ]
    loaders = [
        one for one in containers if "storage-initializer" in str(one.get("image", "")) and one.get("args")
    ]
    found = [str(one["args"][0]) for one in loaders]
    if texts:
        found += [f"oci://{volume['image']['reference']}" for volume in images]
    folders = [str(one["args"][1]) for one in loaders if len(one["args"]) > 1]
    names = {volume.get("name") for volume in images}
    folders += [
        str(mount.get("mountPath", ""))
        for one in containers
        for mount in one.get("volumeMounts") or ()
        if mount.get("name") in names
    ]
    words = [match for match in _NAMED.findall(whole) if not match.startswith("-")]
    cpp = " ".join(text for text in texts if _LLAMA_CPP.search(text))
    words += [word for word in _LLAMA_MODEL.findall(cpp) if word != "llama_cpp.server"]
    words += [word for match in _BESIDE.findall(whole) for word in match.split() if "/" in word]
    found += [_uri(word) for word in words if not _below(word, folders)]
    return Serving(
        label=str(labels.get(LABEL, "")),
        references=tuple(dict.fromkeys(found)),
        revisions=tuple(dict.fromkeys(_REVISION.findall(whole))),
    )


def workloads_of(model: ApprovedModel, pods: Iterable[Mapping[str, Any]]) -> tuple[ServingWorkload, ...]:
    """What serves a model now: pods by the object that controls them, by namespace and name.

    Pods that have finished do not count.
    """
    counts: dict[tuple[str, str, str], int] = {}
    for pod in pods:
        phase = _mapping(pod.get("status")).get("phase")
        if phase in ("Succeeded", "Failed") or not serving(pod).by(model):
            continue
        metadata = _mapping(pod.get("metadata"))
        kind, name = "Pod", str(metadata.get("name", ""))
        for owner in metadata.get("ownerReferences") or ():
            if owner.get("controller"):
                kind, name = str(owner.get("kind", "")), str(owner.get("name", ""))
        key = (str(metadata.get("namespace", "")), kind, name)
        counts[key] = counts.get(key, 0) + 1
    return tuple(
        ServingWorkload(kind=kind, namespace=namespace, name=name, pods=count)
        for (namespace, kind, name), count in sorted(counts.items())
    )


def _text(container: Mapping[str, Any]) -> str:
    words = [str(word) for field in ("command", "args") for word in container.get(field) or ()]
    for one in container.get("env") or ():
        variable = _mapping(one)
        value = "$" if variable.get("valueFrom") else variable.get("value") or ""
        words.append(f"env:{variable.get('name', '')} {value}")
    text = f" image:{container.get('image', '')} {' '.join(words)} "
    return text[:MAX_TEXT].translate(_SEPARATORS)


def _uri(word: str) -> str:
    if word.startswith("/"):
        return f"file://{word}"
    return word if "://" in word else f"hf://{word}"


def _below(word: str, folders: Iterable[str]) -> bool:
    return any(word == folder or word.startswith(f"{folder}/") for folder in folders if folder)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
