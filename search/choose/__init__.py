"""Which trial comes next: samplers, proposals, promotion."""
