"""The ledger: the Redis data model and the only functions that may change it."""
