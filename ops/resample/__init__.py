"""Images read at other places: enlarged, reduced, or sampled on a grid."""
