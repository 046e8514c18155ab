"""The city as it stands: substations, rings, LV feeders, customers, and the utility's record of them."""
