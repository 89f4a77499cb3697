"""What overlap is bought with: the smoothness of fields, of ours and of other tools."""
