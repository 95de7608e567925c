"""Where all parts meet: text to image, image to image, inpainting."""
