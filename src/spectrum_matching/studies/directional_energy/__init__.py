"""What a target filter does to an encoder's directional energy."""
