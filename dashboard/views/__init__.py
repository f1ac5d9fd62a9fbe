"""The pages; each module has a function `render`, which `dashboard.app` calls."""
