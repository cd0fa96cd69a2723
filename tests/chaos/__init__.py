"""The campaign: the whole suite as real processes under load and faults, and the check of all that it promised."""
