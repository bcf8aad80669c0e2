"""Receipts: issued with the money, printed as original and copies."""
