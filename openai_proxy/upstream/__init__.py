"""Sending requests to providers: connections, pools, failover, health; the local and echo backends."""
