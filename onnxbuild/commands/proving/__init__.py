"""The commands `verify`, `sign` and `provenance`: what a delivered folder proves about itself."""
