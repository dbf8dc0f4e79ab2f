"""The controller: mirror the cluster, decide, record, enact, report. The same code for every cluster.

It writes claims, lifts gates and evicts; it never binds a pod. All state is in the cluster's objects, so it
may be killed at any moment: the next run reads what is there and completes or undoes it.
"""
