"""What every recipe is: fields, a budget, what it declares and what it refuses."""
