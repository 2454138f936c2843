"""Break everything by chance, and hold what came of it to the guarantees."""
