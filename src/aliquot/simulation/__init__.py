"""Virtual time: what would become of workloads if the production `decide` decided about them. Pure."""
