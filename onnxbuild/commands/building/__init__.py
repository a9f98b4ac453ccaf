"""The phases of a build, in the order in which `build` goes through them."""
