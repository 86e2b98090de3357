"""Devices, hosts, signals, and the JSON files that commands leave for each other."""
