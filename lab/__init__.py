"""The lab: the hosts of an inventory as user-mode Linux guests on one machine. It knows nothing about mail."""
