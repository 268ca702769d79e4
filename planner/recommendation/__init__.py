"""From laws and a request to the numbers of a plan."""
