"""Accounts: who pays for which meter, from opening to closing."""
