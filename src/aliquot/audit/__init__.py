"""An append-only, hash-chained record of who asked what and which policy decided. Pure."""
