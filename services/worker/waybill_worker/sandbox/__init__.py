"""A process for code that nobody trusts: what is here needs nothing but Python itself, and runs inside as well."""
