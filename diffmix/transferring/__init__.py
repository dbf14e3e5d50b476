"""Style transfer: making one recording sound as another does."""
