"""What a study will cost: bounds, simulated promotion, forecasts."""
