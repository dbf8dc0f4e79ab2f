"""The page of sizes: what workloads need, which parts that is, and what it saves."""
