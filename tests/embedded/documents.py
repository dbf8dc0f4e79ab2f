"""One valid document per kind, to start tests from."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
JOB_TEMPLATE = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}}
SELECTOR = {"matchLabels": {"app": "x"}}
REQUEST = {
    "name": "gpu",
    "exactly": {
        "deviceClassName": "gpu.example.com",
        "selectors": [{"cel": {"expression": "device.driver == 'gpu.example.com'"}}],
    },
}
CLAIM_SPEC = {
    "devices": {
        "requests": [REQUEST],
        "constraints": [{"requests": ["gpu"], "matchAttribute": "gpu.example.com/numa"}],
        "config": [{"requests": ["gpu"], "opaque": {"driver": "gpu.example.com", "parameters": {"a": 1}}}],
    }
}
SLICE_SPEC = {
    "driver": "gpu.example.com",
    "nodeName": "n1",
    "pool": {"name": "n1", "generation": 1, "resourceSliceCount": 1},
    "devices": [
        {
            "name": "gpu-0",
            "attributes": {"numa": {"int": 0}, "model": {"string": "X"}, "driver": {"version": "1.2.3"}},
            "capacity": {"memory": {"value": "80Gi"}},
            "taints": [{"key": "a", "effect": "NoSchedule"}],
        }
    ],
}
SCHEMA = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1, "default": 3},
                "kind": {"type": "string", "enum": ["a", "b"], "default": "a"},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "parts": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"type": "string"},
                            "amount": {"x-kubernetes-int-or-string": True},
                        },
                    },
                },
            },
            "x-kubernetes-validations": [
                {"rule": "self.size < 100", "message": "too big"},
                {"rule": "self.size >= oldSelf.size", "message": "must not shrink", "fieldPath": ".size"},
            ],
        },
        "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
    },
}


def definition(**changes: Any) -> Object:
    spec = {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing", "shortNames": ["th"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": SCHEMA},
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "selectableFields": [{"jsonPath": ".spec.kind"}],
            }
        ],
    }
    return {"metadata": {"name": "things.example.com"}, "spec": spec | changes}


#: Resource to a document that can be created as it is.
VALID: dict[str, Object] = {
    "configmaps": {"metadata": {"name": "a"}, "data": {"x": "1"}},
    "secrets": {"metadata": {"name": "a"}, "stringData": {"x": "1"}},
    "namespaces": {"metadata": {"name": "a"}},
    "nodes": {
        "metadata": {"name": "a", "labels": {"x": "y"}},
        "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]},
        "status": {"capacity": {"cpu": "8"}, "conditions": [{"type": "Ready", "status": "True"}]},
    },
    "pods": {
        "metadata": {"name": "a", "finalizers": ["example.com/x"]},
        "spec": {
            "containers": [
                {
                    "name": "c",
                    "image": "i:1",
                    "resources": {"limits": {"cpu": "1", "nvidia.com/gpu": 1}, "claims": [{"name": "g"}]},
                    "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                    "ports": [{"containerPort": 80}],
                }
            ],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "resourceClaims": [{"name": "g", "resourceClaimTemplateName": "t"}],
            "tolerations": [{"key": "a", "operator": "Exists"}],
            "nodeSelector": {"x": "y"},
            "schedulingGates": [{"name": "example.com/gate"}],
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchExpressions": [{"key": "x", "operator": "In", "values": ["y"]}]}
                        ]
                    }
                }
            },
        },
    },
    "events": {
        "metadata": {"name": "a"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
        "reason": "R",
    },
    "services": {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}], "selector": {"app": "x"}}},
    "serviceaccounts": {"metadata": {"name": "a"}},
    "deployments.apps": {"metadata": {"name": "a"}, "spec": {"selector": SELECTOR, "template": TEMPLATE}},
    "replicasets.apps": {"metadata": {"name": "a"}, "spec": {"selector": SELECTOR, "template": TEMPLATE}},
    "statefulsets.apps": {
        "metadata": {"name": "a"},
        "spec": {"selector": SELECTOR, "template": TEMPLATE, "serviceName": "x"},
    },
    "daemonsets.apps": {"metadata": {"name": "a"}, "spec": {"selector": SELECTOR, "template": TEMPLATE}},
    "jobs.batch": {"metadata": {"name": "a"}, "spec": {"template": JOB_TEMPLATE}},
    "cronjobs.batch": {
        "metadata": {"name": "a"},
        "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": JOB_TEMPLATE}}},
    },
    "resourceclaims.resource.k8s.io": {"metadata": {"name": "a"}, "spec": CLAIM_SPEC},
    "resourceclaimtemplates.resource.k8s.io": {"metadata": {"name": "a"}, "spec": {"spec": CLAIM_SPEC}},
    "deviceclasses.resource.k8s.io": {
        "metadata": {"name": "a"},
        "spec": {"selectors": [{"cel": {"expression": "true"}}]},
    },
    "resourceslices.resource.k8s.io": {"metadata": {"name": "a"}, "spec": SLICE_SPEC},
    "devicetaintrules.resource.k8s.io": {
        "metadata": {"name": "a"},
        "spec": {"deviceSelector": {"driver": "d"}, "taint": {"key": "a", "effect": "NoExecute"}},
    },
    "priorityclasses.scheduling.k8s.io": {"metadata": {"name": "a"}, "value": 10},
    "workloads.scheduling.k8s.io": {
        "metadata": {"name": "a"},
        "spec": {"podGroupTemplates": [{"name": "w", "schedulingPolicy": {"gang": {"minCount": 2}}}]},
    },
    "podgroups.scheduling.k8s.io": {
        "metadata": {"name": "a"},
        "spec": {"schedulingPolicy": {"gang": {"minCount": 2}}},
    },
    "leases.coordination.k8s.io": {"metadata": {"name": "a"}, "spec": {"holderIdentity": "x"}},
    "validatingadmissionpolicies.admissionregistration.k8s.io": {
        "metadata": {"name": "a"},
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "resources": ["pods"],
                        "operations": ["CREATE"],
                    }
                ]
            },
            "validations": [{"expression": "true"}],
        },
    },
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": {
        "metadata": {"name": "a"},
        "spec": {"policyName": "a", "validationActions": ["Deny"]},
    },
    "mutatingadmissionpolicies.admissionregistration.k8s.io": {
        "metadata": {"name": "a"},
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "resources": ["pods"],
                        "operations": ["CREATE"],
                    }
                ]
            },
            "mutations": [
                {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}
            ],
            "reinvocationPolicy": "Never",
        },
    },
    "customresourcedefinitions.apiextensions.k8s.io": definition(),
    "clusterroles.rbac.authorization.k8s.io": {
        "metadata": {"name": "system:a"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    },
    "rolebindings.rbac.authorization.k8s.io": {
        "metadata": {"name": "a"},
        "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": "u"}],
    },
    "poddisruptionbudgets.policy": {
        "metadata": {"name": "a"},
        "spec": {"minAvailable": 1, "selector": SELECTOR},
    },
}
