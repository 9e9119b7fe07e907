"""The product on a machine with a card: what is carried there, what is run there, and what came back."""
