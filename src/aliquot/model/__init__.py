"""Kubernetes objects as frozen, typed values, and the Snapshot that every decision starts from.

Only the fields that deciding, explaining and accounting need are kept; other fields of an object are dropped
when it is decoded. Quantities are exact. Nothing here does I/O.
"""
