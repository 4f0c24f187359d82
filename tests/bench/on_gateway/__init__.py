"""What the gateway's bench is made of: an upstream, a load, and the relays that are compared."""
