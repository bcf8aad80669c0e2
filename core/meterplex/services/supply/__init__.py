"""Supply: who is warned, disconnected and reconnected, and what keeps that from happening."""
