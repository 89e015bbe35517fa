"""Study of target filters: their effect on an encoder's directional energy."""
