"""What several tests share: tiny runs, filled stores, records that nobody trained."""
