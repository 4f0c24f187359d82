"""Measuring a service that runs: load at a steady rate or by so many clients, and a report of what came back."""
