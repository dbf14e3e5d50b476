"""Songs as tensors: reading and writing audio, multitrack folders, and the procedural generator."""
