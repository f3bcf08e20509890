"""Running results along a dimension: sums, products, extremes."""
