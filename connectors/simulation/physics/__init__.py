"""What happens in the grid: weather, loads, switching, and the power flow of every span."""
