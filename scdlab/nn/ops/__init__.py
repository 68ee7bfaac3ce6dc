"""Kernels: sums over neighbors, filter tables, and the compiled loops behind them."""
