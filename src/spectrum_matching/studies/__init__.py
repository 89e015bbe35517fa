"""From images, encoders and analyses to the records of a study."""
