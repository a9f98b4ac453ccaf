"""From a `Manifest` to an `ActionGraph`: the lock file, expansion, selection."""
