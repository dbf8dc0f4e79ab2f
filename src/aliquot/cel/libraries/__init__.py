"""Function libraries: the standard one, and those that Kubernetes adds."""
