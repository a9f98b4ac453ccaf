"""What other tools read about a delivered folder: a CycloneDX bill of materials, and a SLSA provenance statement."""
