"""``gridflow explain``: how a figure came about, from what the flow has written."""
