"""Published figures of the openb benchmark: percent of the GPUs allocated, mean of seeds 42 to 51.

Policies: the csv that the authors of FGD publish with their simulator
(hkust-adsl/kubernetes-scheduler-simulator, experiments/analysis/expected_results/analysis_allo_discrete.csv).
Bounds: from linear programs over the mixes of pods that fit a node, with every pod of the first 90 % placed.
"""

from collections.abc import Mapping

PUBLISHED: Mapping[tuple[str, str], Mapping[int, float]] = {
    ("default", "Random"): {95: 85.72, 100: 86.30, 110: 86.88, 120: 87.28, 130: 87.47},
    ("default", "DotProd"): {95: 90.58, 100: 90.62, 110: 90.70, 120: 90.76, 130: 90.85},
    ("default", "GpuClustering"): {95: 91.60, 100: 91.65, 110: 91.73, 120: 91.80, 130: 91.88},
    ("default", "GpuPacking"): {95: 91.74, 100: 91.78, 110: 91.85, 120: 91.92, 130: 92.00},
    ("default", "BestFit"): {95: 92.82, 100: 92.86, 110: 92.93, 120: 93.00, 130: 93.08},
    ("default", "FGD"): {95: 94.90, 100: 95.23, 110: 95.30, 120: 95.35, 130: 95.39},
    ("cpu050", "FGD"): {130: 95.21},
    ("cpu100", "FGD"): {130: 95.35},
    ("cpu200", "FGD"): {130: 95.04},
    ("cpu250", "FGD"): {130: 93.41},
    ("gpushare40", "FGD"): {130: 94.15},
    ("gpushare60", "FGD"): {130: 91.40},
    ("gpushare80", "FGD"): {130: 89.30},
    ("gpushare100", "FGD"): {130: 86.90},
    ("gpuspec10", "FGD"): {130: 94.95},
    ("gpuspec20", "FGD"): {130: 94.84},
    ("gpuspec25", "FGD"): {130: 94.74},
    ("gpuspec33", "FGD"): {130: 94.55},
    ("multigpu20", "FGD"): {130: 95.65},
    ("multigpu30", "FGD"): {130: 96.46},
    ("multigpu40", "FGD"): {130: 96.99},
    ("multigpu50", "FGD"): {130: 97.18},
}
"""By trace and policy, then by percent arrived."""

BOUNDS: Mapping[str, Mapping[int, float]] = {"default": {100: 96.61, 110: 96.64, 120: 96.68, 130: 96.71}}
"""What no policy that drops a pod only when it fits nowhere can exceed, by trace and percent arrived."""

BOUNDS_OF_ONE_SEED: Mapping[str, Mapping[int, float]] = {
    "cpu050": {100: 96.64, 130: 96.77},
    "cpu100": {100: 96.60, 130: 96.70},
    "gpushare40": {100: 95.19, 130: 95.36},
    "multigpu20": {100: 97.09, 130: 97.18},
    "multigpu30": {100: 97.45, 130: 97.53},
}
"""The same for seed 42 alone."""
