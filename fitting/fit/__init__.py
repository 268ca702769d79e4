"""From a runs table to laws: the fits of every quantity, their audit and their report."""
