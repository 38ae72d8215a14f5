"""Asking a provider: connections, pools, failover, health; the local and echo backends."""
