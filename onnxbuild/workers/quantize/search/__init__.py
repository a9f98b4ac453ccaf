"""`method: auto`: the cheapest mix of int8, 8-bit weights and fp32 whose outputs keep a bound."""
