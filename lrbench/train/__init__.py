"""The one training loop, and how what it trains is built, measured, averaged and frozen for others."""
