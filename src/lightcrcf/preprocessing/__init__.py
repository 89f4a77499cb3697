"""From files to comparable images: foreground, missing data, intensities, the brain in a head."""
