"""The built lessons as pages for a browser and as slides, without a network."""
