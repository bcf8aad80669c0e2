"""Operators: who may do what, signed in how, with whose consent; and the audit log."""
