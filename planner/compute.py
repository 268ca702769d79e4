class Compute:
    pass
