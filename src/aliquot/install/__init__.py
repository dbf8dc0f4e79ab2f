"""What a cluster needs to run Aliquot: rendered, applied, checked and taken away again."""
