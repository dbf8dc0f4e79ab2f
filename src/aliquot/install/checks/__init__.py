"""What `aliquot doctor` looks at: one module per subject, each a function from a cluster to findings."""
