"""Mode strict: what kube-scheduler's structured allocator (1.36.2) would allocate, its faults included.

Behaviour that would be a fault in an allocator of one's own is kept on purpose and marked "Upstream:".
"""
