"""Who held what, used what and pays what: device time, energy, money and carbon in exact integers that add
up.

Units, everywhere in this package and in the ledger: time in milliseconds since 1970 (UTC), device time in
milliseconds of a whole device, energy in millijoules, power in milliwatts, money in millionths of the
ledger's one currency, carbon in micrograms of CO2 equivalent, activity in millionths.
"""
