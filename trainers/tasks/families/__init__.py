"""The tasks that ship, one module or package for each family; `registry` lists them."""
