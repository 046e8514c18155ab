"""``gridflow demo``: the main job on a simulated city, with what was injected beside what was found."""
