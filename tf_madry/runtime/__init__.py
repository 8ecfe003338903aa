"""What any program needs: files, seeds, signals, devices, texts for people."""
