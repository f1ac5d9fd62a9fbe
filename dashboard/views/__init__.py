"""The four pages; each has one function `render`, which `dashboard.app` calls."""
