"""What each kind of workload says of how its pods belong together: one module per family of kinds."""
