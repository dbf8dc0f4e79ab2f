"""Facts about accelerators and the machines that hold them; fleet files and their expansion.

Facts live in `data/` as YAML and CSV, each entry with its source and, where no public source backs a field,
`unverified: true` and `unverified_fields`. They are read on first use and checked field by field.
"""
