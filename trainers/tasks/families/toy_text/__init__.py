"""The toy-text tasks and their parts."""
