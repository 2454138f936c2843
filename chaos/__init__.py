"""Break everything at random, and check the outcome against the guarantees."""
