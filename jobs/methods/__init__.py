"""What one method needs beside its recipe: no decision of its paper, and nothing that two methods share by chance."""
