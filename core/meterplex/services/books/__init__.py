"""The books: the one way into the ledger, its checks and its periods; amounts at the edge."""
