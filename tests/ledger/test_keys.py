"""The key table is the single source of every key."""

from waybill.ledger import keys


def test_every_key_of_a_partition_lies_in_one_slot() -> None:
    for kind, spec in keys.KEYS.items():
        built = keys.key("7", kind, *["x"] * spec.suffix.count("%s"))
        assert built.startswith("waybill:{7}:")


def test_the_function_library_gets_the_same_table() -> None:
    table = keys.lua_table()
    assert all(f"{kind} = '{spec.suffix}'" in table for kind, spec in keys.KEYS.items())
