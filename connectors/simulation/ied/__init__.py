"""What IEDs send: GOOSE, reports and health (IEC 61850-7-2, 8-1), and what goes wrong with them."""
