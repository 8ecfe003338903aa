"""What makes networks and measurements, once."""
