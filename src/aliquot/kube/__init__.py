"""The Kubernetes API over HTTPS: kubeconfig, client, mirror of the cluster, leases.

The same code talks to a real cluster and to the embedded one. Time and randomness are passed in
(`clock.Clock`, `random.Random`), so that every wait and every retry can be tested without waiting.
"""
