"""Parts that several families share: grids, questions, Gymnasium environments, regulators."""
