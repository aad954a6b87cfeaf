"""How a command is asked: fields from text and files, places to read and to write, and the plan of what would be
done."""
