"""Which part of which device a workload needs, judged by how it used what it had."""
