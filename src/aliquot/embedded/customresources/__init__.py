"""CustomResourceDefinitions: kinds that a cluster's users add, with schemas of their own."""
