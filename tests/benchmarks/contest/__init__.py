"""Play methods of search on surfaces, keep what came out, and report it."""
