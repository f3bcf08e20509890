"""Recurrent nets: one op for a layer and direction, over all time steps."""
