"""Bills, rents and fees, debts, and shares of common cost."""
