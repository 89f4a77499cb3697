"""What parts and settings of the network are worth."""
