"""Factorisations and solvers: NumPy's LAPACK runs them on the host; their gradients are built from ops."""
