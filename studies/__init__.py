"""Study files that ship with Pathfront."""
